// What the stream told of runs and may not be stored yet: an answer that lacks it takes nothing away that was seen.

const FOR = 60_000; // Milliseconds.
const MOST = 100; // Of each kind.

export class Unstored<Run> {
  readonly #heard = new Map<string, { run: Run; at: number }[]>();

  add(kind: string, run: Run): void {
    this.#heard.set(kind, [{ run, at: Date.now() }, ...(this.#heard.get(kind) ?? [])].slice(0, MOST));
  }

  /** The newest first. */
  of(kind: string): Run[] {
    return (this.#heard.get(kind) ?? []).filter(({ at }) => Date.now() - at < FOR).map(({ run }) => run);
  }
}
