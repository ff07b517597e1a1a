// The live stream, and polling while it cannot be had: one state, which everybody can see.

import type { Alert, CloudEvent } from "./api";
import { Seats } from "./seats";

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

// Of an event, only runs are told one by one: this is what begins or ends one, or says how far it is.
const RUN_TYPES = [
  ...["build", "testsuiterun", "validation", "deployment"].flatMap((kind) => ["started", "finished", "lost"].map((step) => `${kind}.${step}`)),
  "testsuiterun.progress",
  "deployment.rolledback",
];

const SOON = 500; // Milliseconds until a server that does not answer is asked again; each time it is twice as long.
const LONGEST = 3; // So many times as long as between two polls is the longest that it is left alone.
const DEAF = 45_000; // Milliseconds without a frame, three heartbeats, after which a stream is none: a laptop slept.
const HIDDEN = 10_000; // Milliseconds that a page may lie hidden before it lets go of its stream.
const CROWDED = 60_000; // Milliseconds after which a page that found all seats taken looks again; one may have crashed.

export class Live {
  #stream: EventSource | null = null;
  #turn: ReturnType<typeof setTimeout> | undefined;
  #hiding: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #last = ""; // The newest frame's id: what came after it is told first.
  #crowded = 0; // Until when no stream is asked for, because other pages of this browser have all that there may be.
  #opened = 0;
  #catching = 0;
  #wasAway = false;
  readonly #seats = new Seats(
    () => this.#leave(),
    () => this.#crowded && setTimeout(() => this.#comeBack(), Math.random() * 300),
  );
  /** When anything was heard last. */
  heard = Date.now();
  /** When somebody began to look. */
  shown = Date.now();
  readonly #reacts = new Map<string, ((frame: never) => void)[]>();

  /** `poll` asks REST for all that the view shows, and resolves to whether the server answered at all. */
  constructor(
    private readonly refresh: number,
    private readonly poll: () => Promise<boolean>,
    private readonly tell: (state: State) => void,
  ) {}

  /** Hear these frames, before the stream is started: what nobody hears is not asked for. An event is one of a run. */
  on<K extends keyof Frames>(name: K, react: (frame: Frames[K]) => void): void {
    this.#reacts.set(name, [...(this.#reacts.get(name) ?? []), react as (frame: never) => void]);
  }

  start(): void {
    document.addEventListener("visibilitychange", () => {
      clearTimeout(this.#hiding);
      if (document.hidden) this.#hiding = setTimeout(() => this.#rest(), HIDDEN);
      else this.#show();
    });
    addEventListener("online", () => this.#comeBack());
    addEventListener("pagehide", () => this.#rest());
    addEventListener("pageshow", (event) => event.persisted && this.#show());
    if (!document.hidden) this.#connect();
  }

  /** Notice, once a second or so, that a stream has died without a word. */
  watch(): void {
    if (this.#stream && Date.now() - Math.max(this.heard, this.#opened) > DEAF) this.#lost(this.#stream);
  }

  #connect(): void {
    // A filter that lets nothing through: without any, everything would be told.
    const types = ["ping", ...[...this.#reacts.keys()].flatMap((name) => (name === "event" ? RUN_TYPES : name))];
    const asked = new URLSearchParams({ types: types.join(","), ...(this.#last && { lastEventId: this.#last }) });
    const stream = (this.#stream = new EventSource(`/api/monitoring/events?${asked}`));
    this.#opened = Date.now();
    const hear = (frame: string, name: string = frame) =>
      stream.addEventListener(frame, (message: MessageEvent<string>) => {
        this.#last = message.lastEventId || this.#last;
        this.#react(name, JSON.parse(message.data));
      });
    stream.addEventListener("connected", (message: MessageEvent<string>) => {
      this.#last = message.lastEventId || this.#last;
      this.#connected();
    });
    for (const name of ["performance_metrics", "active_alerts", "health_status", "event", "ping"]) hear(name);
    for (const name of RUNS) hear(name, "event");
    hear("gap");
    stream.addEventListener("gap", (message: MessageEvent<string>) => {
      if (!("since" in JSON.parse(message.data))) void this.#catchUp(); // What was before the stream began is asked for anyway.
    });
    stream.onerror = () => this.#lost(stream);
    this.#seats.take();
  }

  #react(name: string, frame: unknown): void {
    this.heard = Date.now();
    for (const react of this.#reacts.get(name) ?? []) react(frame as never);
  }

  #connected(): void {
    this.heard = Date.now();
    this.#failures = 0;
    this.#crowded = 0;
    clearTimeout(this.#turn);
    this.#turn = undefined;
    void this.#catchUp(); // What happened before, or meanwhile, or at a server that was started anew.
  }

  async #catchUp(): Promise<void> {
    const number = ++this.#catching;
    this.tell(this.#wasAway || number > 1 ? "catching up" : "live");
    await this.poll();
    if (number === this.#catching && this.#stream && this.#turn === undefined) this.tell("live");
  }

  /** The stream is gone. The browser would come back as all others do, at the same moment; we come back in our own time. */
  #lost(stream: EventSource): void {
    stream.close();
    if (stream !== this.#stream) return;
    this.#stream = null;
    this.#wasAway = true;
    this.#turn ??= setTimeout(() => void this.#ask(), 0);
  }

  async #ask(): Promise<void> {
    const answered = await this.poll();
    if (this.#turn === undefined || document.hidden) return; // Meanwhile the stream is back, or nobody looks any more.
    this.tell(answered ? "polling" : "offline");
    if (answered && !this.#stream && Date.now() > this.#crowded) this.#connect();
    this.#failures = answered ? 0 : this.#failures + 1;
    const pause = answered ? this.refresh : Math.min(SOON * 2 ** this.#failures, this.refresh * LONGEST);
    this.#turn = setTimeout(() => void this.#ask(), pause * (0.75 + Math.random() / 4));
  }

  /** Others had a stream before us, and there are no more. */
  #leave(): void {
    this.#crowded = Date.now() + CROWDED;
    if (this.#stream) this.#lost(this.#stream);
  }

  #comeBack(): void {
    if (document.hidden || this.#stream) return;
    this.#crowded = 0;
    this.#connect();
  }

  /** Nobody looks: what a browser can bear of streams is for pages that are seen. */
  #rest(): void {
    clearTimeout(this.#turn);
    this.#turn = undefined;
    this.#stream?.close();
    this.#stream = null;
    this.#seats.give();
  }

  #show(): void {
    this.shown = Date.now();
    if (this.#stream) return;
    clearTimeout(this.#turn);
    this.#turn = setTimeout(() => void this.#ask(), this.refresh);
    this.#crowded = 0;
    this.tell("catching up");
    this.#connect();
  }
}
