// Brings the page to life: the view that its address names, the stream, the theme and the keyboard.

import "uplot/dist/uPlot.min.css";
import "./style.css";
import { Refused, Unreachable } from "./api";
import { worded } from "./dialog";
import { byId, renew, show } from "./dom";
import { localText, moment } from "./format";
import { keyboard } from "./keyboard";
import { Live } from "./live";
import { panels } from "./panels";
import { theme } from "./theme";
import { loadWith, type Mount } from "./view";
import { alerts } from "./views/alerts";
import { metric } from "./views/metric";
import { operations } from "./views/operations";
import { overview } from "./views/overview";
import { pipelines } from "./views/pipelines";
import { runs } from "./views/runs";

const VIEWS: Record<string, Mount> = { overview, metric, alerts, runs, pipelines, operations };

const STALE_AFTER = 30_000; // Milliseconds without an answer or a frame.

function start(): void {
  for (const time of document.querySelectorAll("time")) time.replaceWith(moment(Date.parse(time.dateTime)));
  for (const node of document.querySelectorAll(".utc")) node.remove(); // It is the reader's own time from here on.
  let answered = Date.now();
  theme();
  keyboard();
  const mount = VIEWS[document.body.dataset.view ?? ""];
  if (!mount) return;
  const view = mount(byId("main"));
  const refresh = Number(document.body.dataset.refresh) || 5000;
  const load = async () => {
    try {
      await view.load();
      fault("");
      asOf((answered = Date.now()));
      return true;
    } catch (why) {
      if (why instanceof Unreachable) return false;
      fault(worded(why)); // What could not be asked is said, and what is shown stays.
      if (!(why instanceof Refused)) console.error(why);
      return true;
    }
  };
  loadWith(load);
  const watch = () => {
    const known = Math.max(answered, live.heard);
    const isStale = Date.now() - known > STALE_AFTER || byId("live").dataset.state === "offline";
    byId("stale").hidden = !isStale;
    document.body.dataset.stale = String(isStale);
    if (isStale) show(byId("stale"), `The server does not answer. What is shown is from ${localText(new Date(known))}.`);
    else asOf(known);
  };
  const live = new Live(refresh, load, (state) => {
    byId("live").dataset.state = state;
    show(byId("live"), state === "polling" ? `every ${refresh / 1000} s` : state);
    watch();
  });
  view.listen?.(live);
  void load();
  live.start();
  setInterval(watch, 1000);
  panels(refresh, live);
  if (view.every) setInterval(() => document.hidden || void load(), view.every);
}

const asOf = (at: number): void => renew(byId("now"), moment(at));

function fault(text: string): void {
  byId("trouble").hidden = text === "";
  show(byId("trouble"), text);
}

start();
