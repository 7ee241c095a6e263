// Kernel modules that a back end needs, loaded when this kernel has them.

/**
 * Loads a module.
 *
 * @returns Why it could not be loaded, as the end of a sentence; undefined when it is loaded, or
 * part of the kernel itself.
 */
export function loadModule(name: string): string | undefined {
  try {
    const loaded = modprobe([name]);
    if (loaded.success) return undefined;
    // A trial run succeeds where the module is there.
    if (!modprobe(["--dry-run", "--quiet", name]).success) {
      return `this kernel has no ${name} module`;
    }
    const [line = ""] = loaded.text.split("\n");
    return `modprobe ${name} fails (${line.replace(/^modprobe: (ERROR|FATAL): /, "")})`;
  } catch {
    return `${name} is not loaded, and there is no modprobe to load it`;
  }
}

function modprobe(args: readonly string[]): { readonly success: boolean; readonly text: string } {
  const { success, stderr } = new Deno.Command("modprobe", {
    args: [...args],
    env: { LC_ALL: "C" },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).outputSync();
  return { success, text: new TextDecoder().decode(stderr) };
}
