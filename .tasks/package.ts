// `deno task package`: makes aoe_VERSION_ARCHITECTURE.deb of ./aoe, by dpkg-deb. What is in it comes
// from `aoe unit install`; here is added what only a package has. The same sources give the same
// bytes: times are those of the last commit, or of SOURCE_DATE_EPOCH.

import configuration from "../deno.json" with { type: "json" };
import { runtimeNeeds } from "./runtime_needs.ts";

/** Two that are made at once do not disturb each other. */
const STAGE = `.build/package.${Deno.pid}`;
const SCRIPTS = ".tasks/debian";
const ARCHITECTURES: Readonly<Record<string, string>> = { x86_64: "amd64", aarch64: "arm64" };
const DESCRIPTION = `ATA over Ethernet target and initiator
 Serves image files, block devices and NBD exports as ATA over Ethernet disks,
 finds and attaches such disks, copies, checks and measures them. AoE is a
 block protocol right on Ethernet, for one network segment.
 .
 The program carries its own runtime, Deno.`;

/** Makes the package. */
async function pack(): Promise<void> {
  Deno.chdir(new URL("..", import.meta.url));
  const epoch = Deno.env.get("SOURCE_DATE_EPOCH") ??
    await output("git", "log", "-1", "--format=%ct");
  const maintainer = await packager();
  await Deno.remove(STAGE, { recursive: true }).catch(() => {});
  const root = await Deno.realPath(".") + `/${STAGE}`;
  await output("./aoe", "unit", "install", "--root", root, "--prefix", "/usr");
  // dpkg has a list of its own.
  await Deno.remove(`${STAGE}/usr/lib/aoe/installed`);
  await addDocuments(epoch, maintainer);
  await addControl(maintainer);
  const architecture = ARCHITECTURES[Deno.build.arch];
  const name = `aoe_${configuration.version}_${architecture}.deb`;
  // gzip: of what all versions of dpkg read it is the one that takes seconds.
  await output(
    "env",
    ...[`SOURCE_DATE_EPOCH=${epoch}`, "dpkg-deb", "--root-owner-group", "-Zgzip", "-z6"],
    ...["--build", STAGE, `${STAGE}.deb`],
  );
  await Deno.rename(`${STAGE}.deb`, name);
  await Deno.remove(STAGE, { recursive: true });
  console.log(
    `Made ${name}, ${(Deno.statSync(name).size / 1e6).toFixed(1)} MB: apt install ./${name}`,
  );
}

/** Who makes packages here, as Debian's tools ask it; otherwise who made the last commit. */
async function packager(): Promise<string> {
  const [name, email] = ["DEBFULLNAME", "DEBEMAIL"].map((field) => Deno.env.get(field) ?? "");
  if (name !== "" && email !== "") return `${name} <${email}>`;
  return await output("git", "log", "-1", "--format=%an <%ae>");
}

/** Copyright, changelog, and manual pages as Debian has them. */
async function addDocuments(epoch: string, maintainer: string): Promise<void> {
  const documents = `${STAGE}/usr/share/doc/aoe`;
  await Deno.mkdir(documents, { recursive: true });
  await Deno.copyFile(`${SCRIPTS}/copyright`, `${documents}/copyright`);
  const date = await output("date", "-u", "-R", "-d", `@${epoch}`);
  await Deno.writeTextFile(
    `${documents}/changelog`,
    `aoe (${configuration.version}) unstable; urgency=medium\n\n` +
      `  * What has changed is told by the history of its sources.\n\n` +
      ` -- ${maintainer}  ${date}\n`,
  );
  const manuals = `${STAGE}/usr/share/man/man8`;
  const pages = [...Deno.readDirSync(manuals)].map(({ name }) => `${manuals}/${name}`).sort();
  await output("gzip", "-n9", `${documents}/changelog`, ...pages);
  const overrides = `${STAGE}/usr/share/lintian/overrides`;
  await Deno.mkdir(overrides, { recursive: true });
  await Deno.copyFile(`${SCRIPTS}/lintian-overrides`, `${overrides}/aoe`);
}

/** What dpkg is told. */
async function addControl(maintainer: string): Promise<void> {
  const control = `${STAGE}/DEBIAN`;
  await Deno.mkdir(control);
  for (const script of ["postinst", "prerm", "postrm"]) {
    await Deno.copyFile(`${SCRIPTS}/${script}`, `${control}/${script}`);
    await Deno.chmod(`${control}/${script}`, 0o755);
  }
  await Deno.writeTextFile(`${control}/conffiles`, "/etc/aoe.toml\n");
  const files = filesBelow(STAGE).filter((path) => !path.startsWith("DEBIAN/"));
  const sums = await output("sh", "-c", 'cd "$0" && md5sum "$@"', STAGE, ...files);
  await Deno.writeTextFile(`${control}/md5sums`, `${sums}\n`);
  const bytes = files.reduce((sum, path) => sum + Deno.statSync(`${STAGE}/${path}`).size, 0);
  const { glibc } = runtimeNeeds(await Deno.readFile(Deno.execPath()));
  await Deno.writeTextFile(
    `${control}/control`,
    [
      "Package: aoe",
      `Version: ${configuration.version}`,
      `Architecture: ${ARCHITECTURES[Deno.build.arch]}`,
      `Maintainer: ${maintainer}`,
      `Installed-Size: ${Math.ceil(bytes / 1024)}`,
      `Depends: libc6 (>= ${glibc}), libgcc-s1, ` +
      "systemd | systemd-standalone-sysusers | systemd-sysusers",
      "Section: net",
      "Priority: optional",
      `Description: ${DESCRIPTION}`,
      "",
    ].join("\n"),
  );
  // Whatever the umask is here.
  await output("chmod", "-R", "u=rwX,go=rX", STAGE);
}

/** Every file below a folder, in order. */
function filesBelow(folder: string, inside = ""): string[] {
  return [...Deno.readDirSync(`${folder}/${inside}`)]
    .sort((a, b) => a.name < b.name ? -1 : 1)
    .flatMap(({ name, isDirectory }) =>
      isDirectory ? filesBelow(folder, `${inside}${name}/`) : [`${inside}${name}`]
    );
}

/** Runs a program to its end; returns what it says, or throws what it says when it fails. */
async function output(program: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, { args, stdin: "null" })
    .output();
  const said = new TextDecoder().decode(success ? stdout : stderr).trim();
  if (!success) throw new Error(said === "" ? `${program} gave no reason` : said);
  return said;
}

try {
  await pack();
} catch (error) {
  const missing = error instanceof Deno.errors.NotFound ? "a tool is missing: " : "";
  console.error(`The package failed: ${missing}${error instanceof Error ? error.message : error}`);
  Deno.exit(1);
}
