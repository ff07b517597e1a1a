// What the stream told of runs and may not be stored yet: an answer that lacks it takes nothing away that was seen.

import type { Kind } from "../../runs";
import type { Told } from "./told";

const FOR = 60_000; // Milliseconds.
const MOST = 100; // Of each kind.

export class Unstored {
  readonly #heard = new Map<Kind, { run: Told; at: number }[]>();

  add(run: Told): void {
    const heard = this.#heard.get(run.kind) ?? [];
    if (run.state === "running" && heard.some((one) => one.run.id === run.id)) return;
    this.#heard.set(run.kind, [{ run, at: Date.now() }, ...heard.filter((one) => one.run.id !== run.id)].slice(0, MOST));
  }

  /** What is stored, behind what is not, or not to its end. */
  with(kind: Kind, stored: readonly Told[]): Told[] {
    const known = new Map(stored.map((run) => [run.id, run]));
    const isAhead = (run: Told) => !known.has(run.id) || (known.get(run.id)?.state === "running" && run.state !== "running");
    const heard = (this.#heard.get(kind) ?? []).filter((one) => Date.now() - one.at < FOR && isAhead(one.run)).map((one) => one.run);
    const ahead = new Set(heard.map((run) => run.id));
    return [...heard, ...stored.filter((run) => !ahead.has(run.id))];
  }
}
