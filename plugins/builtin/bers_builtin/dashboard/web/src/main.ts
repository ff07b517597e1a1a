// Brings the page to life: the view that its address names, the stream, the theme and the keyboard.

import "uplot/dist/uPlot.min.css";
import "./style.css";
import "./access.css";
import { Refused, Unreachable } from "./api";
import { worded } from "./dialog";
import { byId, renew, show } from "./dom";
import { localText, moment } from "./format";
import { Head } from "./head";
import { keyboard } from "./keyboard";
import { Live, type State } from "./live";
import { announce } from "./news";
import { panels } from "./panels";
import { theme } from "./theme";
import { loadWith, type Mount, trouble, type View } from "./view";
import { alerts } from "./views/alerts";
import { metric } from "./views/metric";
import { metrics } from "./views/metrics";
import { operations } from "./views/operations";
import { overview } from "./views/overview";
import { pipelines } from "./views/pipelines";
import { runs } from "./views/runs";

const VIEWS: Record<string, Mount> = { overview, metric: oneOrAll, alerts, runs, pipelines, operations };

const STALE_AFTER = 30_000; // Milliseconds without an answer or a frame.
const UNSEEN_EVERY = 30_000; // Milliseconds after which a page that nobody sees asks how things are: its title is seen.

function start(): void {
  for (const time of document.querySelectorAll("time")) time.replaceWith(moment(Date.parse(time.dateTime)));
  for (const node of document.querySelectorAll(".utc")) node.remove(); // It is the reader's own time from here on.
  for (const node of document.querySelectorAll(".address")) show(node, location.origin);
  let answered = Date.now();
  theme();
  keyboard();
  const mount = VIEWS[document.body.dataset.view ?? ""];
  if (!mount) return;
  const head = new Head();
  const view = mount(byId("main"), head);
  const refresh = Number(document.body.dataset.refresh) || 5000;
  let loading = 0;
  const load = (): Promise<boolean> => {
    loading += 1;
    return loaded().finally(() => (loading -= 1));
  };
  const loaded = async () => {
    const faults: string[] = [];
    for (const part of [head.load, view.load]) {
      try {
        await part();
      } catch (why) {
        if (why instanceof Unreachable) return false; // One question is enough to know that nobody answers.
        faults.push(worded(why)); // What could not be asked is said, and what is shown stays.
        if (!(why instanceof Refused)) console.error(why);
      }
    }
    trouble(faults.join(" · "));
    if (!faults.length) for (const note of document.querySelectorAll("main [data-asked]")) note.remove(); // What the server could not ask was answered.
    asOf((answered = Date.now()));
    return true;
  };
  loadWith(load);
  const watch = () => {
    live.watch();
    const known = Math.max(answered, live.heard);
    const isStale = Date.now() - Math.max(known, live.shown) > STALE_AFTER || byId("live").dataset.state === "offline";
    byId("stale").hidden = !isStale;
    document.body.dataset.stale = String(isStale);
    if (isStale) show(byId("stale"), `The server does not answer. What is shown is from ${localText(new Date(known))}.`);
    else asOf(known);
  };
  const live = new Live(refresh, load, (state) => {
    if (byId("live").dataset.state !== state) settled(state);
    byId("live").dataset.state = state;
    show(byId("live"), state === "polling" ? `every ${refresh / 1000} s` : state);
    watch();
  });
  head.listen(live);
  view.listen?.(live);
  panels(refresh, live); // Before the stream begins, for what they hear.
  live.start();
  setInterval(() => document.hidden || watch(), 1000);
  setInterval(() => document.hidden && void head.load().catch(() => undefined), UNSEEN_EVERY);
  // A server that is late is not asked again before it has answered; while the stream is away, it is asked for that anyway.
  const isDue = () => !document.hidden && !loading && byId("live").dataset.state === "live";
  if (view.every) setInterval(() => isDue() && void load(), view.every);
}

/** A metric, or the start page of all of them. */
function oneOrAll(main: HTMLElement): View {
  return document.getElementById("tiles") ? metrics(main) : metric(main);
}

const asOf = (at: number): void => renew(byId("now"), moment(at));

let said: State = "live";

/** Say how values come from now on; what passes on the way there is not said. */
function settled(state: State): void {
  if (state === "catching up" || state === said) return;
  said = state;
  if (state === "offline") return; // That is an alert of its own.
  announce(state === "live" ? "Updates are live again" : "Updates are asked for every few seconds");
}

start();
