/**
 * QR codes (ISO/IEC 18004) of text, as far as an invitation needs them: byte mode, error correction level M, versions 1 to 10
 * (213 bytes). Checked in the suite against an independent decoder.
 */

/** Of each version at level M: error correction codewords in a block, and data codewords of every block. */
const BLOCKS = [
  [10, [16]], [16, [28]], [26, [44]], [18, [32, 32]], [24, [43, 43]], [16, [27, 27, 27, 27]], [18, [31, 31, 31, 31]],
  [22, [38, 38, 39, 39]], [22, [36, 36, 36, 37, 37]], [26, [43, 43, 43, 43, 44]],
].map(([correction, data]) => ({ correction: /** @type {number} */ (correction), data: /** @type {number[]} */ (data) }));
/** Centres of the alignment patterns. */
const ALIGNMENT = [[], [6, 18], [6, 22], [6, 26], [6, 30], [6, 34], [6, 22, 38], [6, 24, 42], [6, 26, 46], [6, 28, 50]];
const MASKS = [
  (/** @type {number} */ x, /** @type {number} */ y) => (x + y) % 2 === 0,
  (/** @type {number} */ _, /** @type {number} */ y) => y % 2 === 0,
  (/** @type {number} */ x) => x % 3 === 0,
  (/** @type {number} */ x, /** @type {number} */ y) => (x + y) % 3 === 0,
  (/** @type {number} */ x, /** @type {number} */ y) => (Math.floor(y / 2) + Math.floor(x / 3)) % 2 === 0,
  (/** @type {number} */ x, /** @type {number} */ y) => ((x * y) % 2) + ((x * y) % 3) === 0,
  (/** @type {number} */ x, /** @type {number} */ y) => (((x * y) % 2) + ((x * y) % 3)) % 2 === 0,
  (/** @type {number} */ x, /** @type {number} */ y) => (((x + y) % 2) + ((x * y) % 3)) % 2 === 0,
];

/**
 * @param {string} text
 * @returns {boolean[][] | null} rows of modules, true is dark, without the quiet zone; null where the text is too long
 */
export function qrCode(text) {
  const bytes = new TextEncoder().encode(text);
  const version = BLOCKS.findIndex(({ data }, index) => bytes.length + (index < 9 ? 2 : 3) <= sum(data)) + 1;
  if (!version) return null;
  const bits = interleave(dataCodewords(bytes, version), version).flatMap((byte) => bitsOf(byte, 8));
  const candidates = MASKS.map((_, mask) => draw(version, bits, mask));
  return candidates.reduce((best, next) => (penalty(next) < penalty(best) ? next : best));
}

/** Mode, length, the bytes, and padding. @param {Uint8Array} bytes @param {number} version */
function dataCodewords(bytes, version) {
  const capacity = sum(BLOCKS[version - 1].data);
  const bits = [0, 1, 0, 0, ...bitsOf(bytes.length, version < 10 ? 8 : 16), ...[...bytes].flatMap((byte) => bitsOf(byte, 8)), 0, 0, 0, 0];
  const words = [];
  for (let at = 0; at + 8 <= bits.length; at += 8) words.push(parseInt(bits.slice(at, at + 8).join(""), 2));
  for (let pad = 0xec; words.length < capacity; pad ^= 0xec ^ 0x11) words.push(pad);
  return words;
}

/** Splits into blocks and takes a codeword of each in turn, data first, then error correction. @param {number[]} words @param {number} version */
function interleave(words, version) {
  const { correction, data } = BLOCKS[version - 1];
  let at = 0;
  const blocks = data.map((length) => words.slice(at, (at += length)));
  const checks = blocks.map((block) => remainder(block, correction));
  const turns = (/** @type {number[][]} */ lists) =>
    Array.from({ length: Math.max(...lists.map(({ length }) => length)) }, (_, turn) => lists.flatMap((list) => list.slice(turn, turn + 1))).flat();
  return [...turns(blocks), ...turns(checks)];
}

/** Reed-Solomon over GF(256) with the polynomial 0x11d. @param {number[]} block @param {number} degree */
function remainder(block, degree) {
  /** @type {number[]} */
  let generator = [1];
  for (let i = 0, root = 1; i < degree; i++, root = multiply(root, 2)) {
    generator = [...generator, 0].map((value, index) => value ^ multiply(index ? generator[index - 1] : 0, root));
  }
  const rest = [...block, ...Array(degree).fill(0)];
  for (let i = 0; i < block.length; i++) {
    const factor = rest[i];
    generator.forEach((value, index) => (rest[i + index] ^= multiply(value, factor)));
  }
  return rest.slice(block.length);
}

/** @param {number} a @param {number} b */
function multiply(a, b) {
  let product = 0;
  for (; b; b >>= 1, a = (a << 1) ^ (a & 0x80 ? 0x11d : 0)) if (b & 1) product ^= a;
  return product;
}

/** @param {number} version @param {number[]} bits @param {number} mask */
function draw(version, bits, mask) {
  const size = version * 4 + 17;
  /** @type {(boolean | undefined)[][]} undefined where data goes */
  const fixed = Array.from({ length: size }, () => Array(size));
  const set = (/** @type {number} */ x, /** @type {number} */ y, /** @type {boolean} */ dark) => fixed[y]?.[x] !== undefined || x < 0 || x >= size || !fixed[y] || (fixed[y][x] = dark);
  for (const [cx, cy] of [[3, 3], [size - 4, 3], [3, size - 4]]) {
    square(4, (dx, dy) => set(cx + dx, cy + dy, ![2, 4].includes(Math.max(Math.abs(dx), Math.abs(dy)))));
  }
  drawFormat(set, size, mask);
  if (version >= 7) drawVersion(set, size, version);
  const centres = ALIGNMENT[version - 1];
  const last = centres[centres.length - 1];
  for (const cx of centres) for (const cy of centres) {
    if ((cx === 6 && cy === 6) || (cx === 6 && cy === last) || (cx === last && cy === 6)) continue;
    square(2, (dx, dy) => set(cx + dx, cy + dy, Math.max(Math.abs(dx), Math.abs(dy)) !== 1));
  }
  for (let i = 8; i < size - 8; i++) {
    set(i, 6, i % 2 === 0);
    set(6, i, i % 2 === 0);
  }
  const rows = fixed.map((row) => Array.from(row, Boolean));
  let next = 0;
  for (let right = size - 1; right > 0; right -= 2) {
    if (right === 6) right = 5;
    const upward = ((right + 1) & 2) === 0;
    for (let step = 0; step < size; step++) {
      const y = upward ? size - 1 - step : step;
      for (const x of [right, right - 1]) if (fixed[y][x] === undefined) rows[y][x] = Boolean(bits[next++]) !== MASKS[mask](x, y);
    }
  }
  return rows;
}

/** Level M and the mask, twice, with a BCH(15, 5) code. @param {(x: number, y: number, dark: boolean) => unknown} set @param {number} size @param {number} mask */
function drawFormat(set, size, mask) {
  const word = ((mask << 10) | bch(mask, 10, 0x537)) ^ 0x5412;
  const bit = (/** @type {number} */ i) => Boolean((word >> i) & 1);
  for (let i = 0; i < 8; i++) {
    set(8, i < 6 ? i : i === 6 ? 7 : 8, bit(i));
    set(size - 1 - i, 8, bit(i));
  }
  for (let i = 8; i < 15; i++) {
    set(i === 8 ? 7 : 14 - i, 8, bit(i));
    set(8, size - 15 + i, bit(i));
  }
  set(8, size - 8, true);
}

/** @param {(x: number, y: number, dark: boolean) => unknown} set @param {number} size @param {number} version */
function drawVersion(set, size, version) {
  const word = (version << 12) | bch(version, 12, 0x1f25);
  for (let i = 0; i < 18; i++) {
    const [long, short] = [size - 11 + (i % 3), Math.floor(i / 3)];
    set(long, short, Boolean((word >> i) & 1));
    set(short, long, Boolean((word >> i) & 1));
  }
}

/** @param {number} value @param {number} degree @param {number} generator */
function bch(value, degree, generator) {
  let rest = value;
  for (let i = 0; i < degree; i++) rest = (rest << 1) ^ ((rest >> (degree - 1)) * generator);
  return rest;
}

/** How hard it is to read, by the standard's four rules. @param {boolean[][]} rows */
function penalty(rows) {
  const size = rows.length;
  const columns = rows.map((_, x) => rows.map((row) => row[x]));
  let points = 0;
  for (const line of [...rows, ...columns]) {
    const text = line.map(Number).join("");
    for (const [run] of text.matchAll(/0{5,}|1{5,}/g)) points += run.length - 2;
    for (let at = 0; at + 11 <= size; at++) if (["10111010000", "00001011101"].includes(text.slice(at, at + 11))) points += 40;
  }
  for (let y = 1; y < size; y++) for (let x = 1; x < size; x++) {
    const dark = rows[y][x];
    if (rows[y][x - 1] === dark && rows[y - 1][x] === dark && rows[y - 1][x - 1] === dark) points += 3;
  }
  return points + Math.floor(Math.abs(sum(rows.flat().map(Number)) * 20 - size * size * 10) / (size * size)) * 10;
}

/** @param {number} radius @param {(dx: number, dy: number) => void} visit */
function square(radius, visit) {
  for (let dy = -radius; dy <= radius; dy++) for (let dx = -radius; dx <= radius; dx++) visit(dx, dy);
}

/** @param {number} value @param {number} length */
function bitsOf(value, length) {
  return Array.from({ length }, (_, i) => (value >> (length - 1 - i)) & 1);
}

/** @param {number[]} numbers */
function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0);
}
