// Strings of others, in which nothing is unseen: no control character, no mark that turns what stands
// around it, and no half of a character.

const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** The text with `\u{…}` for what cannot be seen. */
export function visibleText(text: string): string {
  return text.replace(UNSEEN, (found) => `\\u{${found.codePointAt(0)!.toString(16)}}`);
}
