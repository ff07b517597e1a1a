// How many pages of one browser hold a stream: it has six connections to a server, and questions need some of them.

const MOST = 4;

interface Said {
  kind: "taken" | "held" | "given";
  id: string;
  since: number;
}

/** A seat is one stream. Pages tell each other of theirs; who comes when all are taken leaves again, and comes back when one is given back. */
export class Seats {
  readonly #id = Math.random().toString(36).slice(2);
  readonly #channel = new BroadcastChannel("bers:streams");
  #since = 0; // When we took ours; 0 while we have none.
  #older = new Set<string>();

  /** `leave` is called when all seats are taken by those who had one before us, and `freed` when one becomes free. */
  constructor(leave: () => void, freed: () => void) {
    this.#channel.onmessage = ({ data }: MessageEvent<Said>) => {
      if (data.kind === "given") return freed();
      if (!this.#since) return undefined;
      if (!this.#isBefore(data)) return data.kind === "taken" ? this.#say("held") : undefined; // Who came later learns of us.
      this.#older.add(data.id);
      if (this.#older.size < MOST) return undefined;
      this.#since = 0; // Nobody is told: no seat becomes free by that, and whoever waits for one would come in vain.
      return leave();
    };
  }

  take(): void {
    if (this.#since) return;
    this.#since = Date.now();
    this.#older.clear();
    this.#say("taken");
  }

  give(): void {
    if (!this.#since) return;
    this.#since = 0;
    this.#say("given");
  }

  #isBefore(other: Said): boolean {
    return other.since < this.#since || (other.since === this.#since && other.id < this.#id);
  }

  #say(kind: Said["kind"]): void {
    this.#channel.postMessage({ kind, id: this.#id, since: this.#since } satisfies Said);
  }
}
