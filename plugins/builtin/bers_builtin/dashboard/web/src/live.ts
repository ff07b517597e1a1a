// The live stream, and polling while it cannot be had: one state, which everybody can see.

import type { Alert, CloudEvent } from "./api";

export type State = "live" | "catching up" | "polling" | "offline";

export interface Frames {
  performance_metrics: { timestamp: number; metrics: Record<string, { current: number; unit: string; lastUpdated: number }> };
  active_alerts: { total: number; alerts: Alert[] };
  health_status: unknown;
  event: CloudEvent;
  gap: unknown;
  ping: unknown;
}

const RUNS = ["build", "validation", "deployment"].flatMap((kind) =>
  ["started", "completed", "failed", "progress", "rolledback"].map((step) => `${kind}-${step}`),
);

const BACK_AFTER = 30_000; // Milliseconds that a page may lie hidden before it asks for everything again.

export class Live {
  #stream: EventSource | null = null;
  #polling: ReturnType<typeof setTimeout> | undefined;
  #hidden = 0;
  /** When anything was heard last. */
  heard = Date.now();
  readonly #reacts = new Map<string, ((frame: never) => void)[]>();

  /** `poll` asks REST for all that the view shows, and resolves to whether the server answered at all. */
  constructor(
    private readonly refresh: number,
    private readonly poll: () => Promise<boolean>,
    private readonly tell: (state: State) => void,
  ) {}

  on<K extends keyof Frames>(name: K, react: (frame: Frames[K]) => void): void {
    this.#reacts.set(name, [...(this.#reacts.get(name) ?? []), react as (frame: never) => void]);
  }

  start(): void {
    this.#connect();
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.#hidden = Date.now();
      else if (Date.now() - this.#hidden > BACK_AFTER) void this.#catchUp();
    });
  }

  #connect(): void {
    this.#stream?.close();
    const stream = (this.#stream = new EventSource("/api/monitoring/events"));
    const hear = (frame: string, name: string = frame) =>
      stream.addEventListener(frame, (message: MessageEvent<string>) => this.#react(name, JSON.parse(message.data)));
    stream.addEventListener("connected", () => this.#isLive());
    for (const name of ["performance_metrics", "active_alerts", "health_status", "event", "ping"]) hear(name);
    for (const name of RUNS) hear(name, "event");
    hear("gap");
    stream.addEventListener("gap", () => void this.#catchUp());
    stream.onerror = () => this.#fallBack();
  }

  #react(name: string, frame: unknown): void {
    this.heard = Date.now();
    for (const react of this.#reacts.get(name) ?? []) react(frame as never);
  }

  #isLive(): void {
    this.heard = Date.now();
    const wasAway = this.#polling !== undefined;
    clearTimeout(this.#polling);
    this.#polling = undefined;
    if (wasAway) void this.#catchUp();
    else this.tell("live");
  }

  async #catchUp(): Promise<void> {
    this.tell("catching up");
    await this.poll();
    if (this.#polling === undefined) this.tell("live");
  }

  #fallBack(): void {
    if (this.#polling !== undefined) return;
    const again = async () => {
      const answered = await this.poll();
      if (this.#polling === undefined) return;
      this.tell(answered ? "polling" : "offline");
      if (this.#stream?.readyState === EventSource.CLOSED) this.#connect(); // It gives up for good where it is refused.
      this.#polling = setTimeout(again, this.refresh);
    };
    this.#polling = setTimeout(again, 0);
  }
}
