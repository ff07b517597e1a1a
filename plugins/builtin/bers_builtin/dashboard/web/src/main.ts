// Brings the page to life: the view that its address names, the stream, the theme and the keyboard.

import "uplot/dist/uPlot.min.css";
import "./style.css";
import { Refused, Unreachable } from "./api";
import { worded } from "./dialog";
import { byId, show } from "./dom";
import { keyboard } from "./keyboard";
import { Live, type State } from "./live";
import { theme } from "./theme";
import { loadWith, type Mount } from "./view";
import { alerts } from "./views/alerts";
import { metric } from "./views/metric";
import { operations } from "./views/operations";
import { overview } from "./views/overview";
import { pipelines } from "./views/pipelines";
import { runs } from "./views/runs";

const VIEWS: Record<string, Mount> = { overview, metric, alerts, runs, pipelines, operations };

const SAID: Record<State, string> = {
  connecting: "connecting",
  live: "live",
  "catching up": "catching up",
  polling: "polling",
  offline: "offline",
};

function start(): void {
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
      return true;
    } catch (why) {
      if (why instanceof Unreachable) return false;
      fault(worded(why)); // What could not be asked is said, and what is shown stays.
      if (!(why instanceof Refused)) console.error(why);
      return true;
    }
  };
  loadWith(load);
  const live = new Live(refresh, load, (state) => {
    byId("live").dataset.state = state;
    show(byId("live"), state === "polling" ? `every ${refresh / 1000} s` : SAID[state]);
  });
  view.listen?.(live);
  void load();
  live.start();
  if (view.every) setInterval(() => document.hidden || void load(), view.every);
}

function fault(text: string): void {
  byId("trouble").hidden = text === "";
  show(byId("trouble"), text);
}

start();
