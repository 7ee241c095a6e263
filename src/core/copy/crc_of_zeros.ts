// CRC-32 (the reflected polynomial 0xEDB88320 of gzip and Ethernet) over runs of zeros, in time that
// grows with the logarithm of their length: a hole of terabytes costs nothing. Appending a zero bit
// multiplies the register by x modulo the polynomial, so n bytes multiply it by x^(8n).

const POLYNOMIAL = 0xedb88320;
/** x^(8 · 2^k) at index k, reflected: bit 31 is the coefficient of x^0. */
const powers: number[] = [0x00800000];

/**
 * The CRC-32 of a stream followed by zeros.
 *
 * @param crc Of the stream so far; 0 for none.
 * @param bytes Number of zero bytes, below 2^53.
 */
export function crcOfZeros(crc: number, bytes: number): number {
  let register = ~crc;
  let rest = bytes;
  for (let k = 0; rest > 0; k++) {
    if (powers[k] === undefined) powers[k] = multiply(powers[k - 1]!, powers[k - 1]!);
    if (rest % 2 === 1) register = multiply(register, powers[k]!);
    rest = Math.floor(rest / 2);
  }
  return ~register >>> 0;
}

/** Product of two polynomials modulo the CRC's. */
function multiply(a: number, b: number): number {
  let product = 0;
  let shifted = b;
  for (let bit = 31; bit >= 0; bit--) {
    if (((a >>> bit) & 1) !== 0) product ^= shifted;
    shifted = (shifted >>> 1) ^ ((shifted & 1) !== 0 ? POLYNOMIAL : 0);
  }
  return product;
}
