// `deno task one -- NAME`: the tests whose file has NAME in its path, or else those whose own name
// has it.

const name = Deno.args.filter((word) => word !== "--").join(" ");
if (name === "") {
  console.error("Usage: deno task one -- NAME (part of a test's name, or of a file's path)");
  Deno.exit(2);
}
const listed = new Deno.Command("git", {
  args: ["ls-files", "--cached", "--others", "--exclude-standard", "tests"],
}).outputSync();
const files = new TextDecoder().decode(listed.stdout).trimEnd().split("\n")
  .filter((path) => path.endsWith("_test.ts") && path.includes(name));
const { code } = await new Deno.Command(Deno.execPath(), {
  args: ["test", "-A", ...files.length > 0 ? files : ["--filter", name]],
}).spawn().status;
Deno.exit(code);
