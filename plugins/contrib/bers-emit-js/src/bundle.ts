/** What a build delivers: how large each file is, raw and compressed, under a name that outlives its hash. */

import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';

const MAX_NAMED = 200;
const TOGETHER = 4; // As many as libuv has threads.
const PATIENCE_MS = 2000;
/** What servers use that compress as they go; 11 takes seventy times as long for an eighth less. */
const BROTLI_QUALITY = 6;

/** A file that a build has written. */
export interface Output {
  /** Its path below the output folder. */
  readonly name: string;
  /** That path without what changes with its content, where the tool knows it. */
  readonly normalised?: string | undefined;
  /** Whether a page names it. */
  readonly entry?: boolean | undefined;
  /** Whether a page needs it before anything happens. */
  readonly initial?: boolean | undefined;
  read(): Promise<Uint8Array | string> | Uint8Array | string;
}

/** A file, or all whose names differ in their hashes alone. */
export interface Asset {
  name: string;
  files: number;
  raw: number;
  gzip?: number;
  brotli?: number;
  entry?: true;
  initial?: true;
}

/** The measures of a build, and its assets, the largest first. */
export interface Bundle {
  readonly measures: Readonly<Record<string, number>>;
  readonly data: { readonly assets: readonly Asset[] };
}

/**
 * Measure what was built; source maps are for nobody's browser and do not count.
 *
 * Compressing has its time. What it is too much for has no compressed size at all, rather than one of a part.
 */
export async function bundle(outputs: Iterable<Output>): Promise<Bundle> {
  const files = [...outputs].filter(({ name }) => !name.endsWith('.map'));
  const end = performance.now() + PATIENCE_MS;
  const assets = new Map<string, Asset>();
  let [raw, initial, compressed] = [0, 0, true];
  let [zipped, brotlied] = [0, 0];
  for (let at = 0; at < files.length; at += TOGETHER) {
    await Promise.all(files.slice(at, at + TOGETHER).map(async (file) => {
      const content = Buffer.from(await file.read());
      const sizes = performance.now() < end ? await compress(content) : undefined;
      compressed &&= sizes !== undefined;
      raw += content.length;
      if (file.initial) initial += content.length;
      zipped += sizes?.gzip ?? 0;
      brotlied += sizes?.brotli ?? 0;
      add(assets, file, content.length, sizes);
    }));
  }
  return {
    measures: {
      'bundle.raw': raw,
      'bundle.assets': files.length,
      ...(compressed ? { 'bundle.gzip': zipped, 'bundle.brotli': brotlied } : {}),
      ...(files.some((file) => file.initial) ? { 'bundle.initial': initial } : {}),
    },
    data: { assets: [...assets.values()].sort((one, other) => other.raw - one.raw).slice(0, MAX_NAMED) },
  };
}

/** Where bundlers put a hash by default: before the extension, and after what joins it to the name. */
const HASHED = /([-._])([A-Za-z0-9_-]{8}|[A-Za-z0-9]{9,64})(?=(?:\.[A-Za-z]\w*)+$)/;

/** A name without the hashes in it: those that the tool tells, else what no person would have named so. */
export function normalised(name: string, hashes: readonly string[] = []): string {
  let found = name;
  for (const hash of hashes) if (hash) found = found.split(hash).join('*');
  if (found !== name) return found;
  return name.replace(HASHED, (all, mark: string, word: string) => (isHash(word) ? `${mark}*` : all));
}

/** Bundlers write hex, base32 in capitals, or base64 of eight letters. */
function isHash(word: string): boolean {
  if (/^[0-9a-f]+$/.test(word) && /\d/.test(word)) return true;
  if (word.length !== 8) return word.length >= 16 && /\d/.test(word) && !/^(?:[A-Z]?[a-z]+)+$/.test(word);
  const upper = word.replace(/[^A-Z]/g, '').length;
  const lower = word.replace(/[^a-z]/g, '').length;
  return upper > 0 && (lower === 0 || upper + lower < 8 || upper > 2);
}

function add(assets: Map<string, Asset>, file: Output, raw: number, sizes: { gzip: number; brotli: number } | undefined): void {
  const name = file.normalised ?? normalised(file.name);
  const asset = assets.get(name) ?? { name, files: 0, raw: 0, gzip: 0, brotli: 0 };
  asset.files += 1;
  asset.raw += raw;
  if (sizes && asset.gzip !== undefined && asset.brotli !== undefined) {
    asset.gzip += sizes.gzip;
    asset.brotli += sizes.brotli;
  } else {
    delete asset.gzip;
    delete asset.brotli;
  }
  if (file.entry) asset.entry = true;
  if (file.initial) asset.initial = true;
  assets.set(name, asset);
}

async function compress(content: Buffer): Promise<{ gzip: number; brotli: number }> {
  const params = { [constants.BROTLI_PARAM_QUALITY]: BROTLI_QUALITY, [constants.BROTLI_PARAM_SIZE_HINT]: content.length };
  const [zipped, brotlied] = await Promise.all([
    promisify(gzip)(content),
    promisify(brotliCompress)(content, { params }),
  ]);
  return { gzip: zipped.length, brotli: brotlied.length };
}
