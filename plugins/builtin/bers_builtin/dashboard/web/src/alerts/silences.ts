// Silences and maintenance windows: what nobody is told of for a while, and how much that holds back.

import { ask } from "../api";
import { may } from "../deeds";
import { byId, h, renew, table } from "../dom";
import { moment } from "../format";
import { expire, type Silence, silenceThose } from "./deeds";

interface Window {
  name: string;
  matchers: string[];
  schedule: string;
  timeZone: string;
  state: string;
  closes: number | null;
  next: { starts: number; ends: number }[];
  suppressing: number;
}

export async function silences(isNews: () => boolean): Promise<void> {
  const [found, windows] = await Promise.all([
    ask<Silence[]>("silences", { state: "active,pending,expired", limit: 200 }),
    ask<Window[]>("maintenance").catch(() => []),
  ]);
  if (!isNews()) return;
  renew(
    byId("list"),
    ...(may("acknowledge") ? [begin()] : []),
    found.length === 0 ? h("p", { class: "none" }, "Nothing is silenced.") : silenced(found),
    ...(windows.length ? [h("h3", {}, "Maintenance windows"), maintained(windows)] : []),
  );
}

const begin = () =>
  h("p", { class: "buttons" }, h("button", { data: { key: "new silence" }, attributes: { type: "button" }, on: { click: () => void silenceThose([], "") } }, "New silence"));

function silenced(found: readonly Silence[]): Node {
  const end = (one: Silence) => h("button", { data: { key: `end ${one.id}` }, attributes: { type: "button" }, on: { click: () => void expire(one) } }, "End");
  return table(
    "Silences",
    ["Which alerts", "State", "By", "Why", "Begins", "Ends", "#Holds back", ""],
    found.map((one) => ({
      data: { key: one.id },
      cells: [
        one.matchers.join(" and "),
        one.endedBy ? `ended by ${one.endedBy}` : one.state,
        one.createdBy,
        one.comment,
        moment(one.starts),
        moment(one.ends),
        one.suppressing,
        one.state === "expired" || !may("acknowledge") ? "" : end(one),
      ],
    })),
  );
}

function maintained(windows: readonly Window[]): Node {
  return table(
    "Maintenance windows",
    ["Name", "When", "Which alerts", "State", "Next", "#Holds back"],
    windows.map((one) => ({
      data: { key: one.name },
      cells: [
        one.name,
        `${one.schedule} (${one.timeZone})`,
        one.matchers.join(" and ") || "every alert",
        one.state,
        one.closes === null ? (one.next[0] ? moment(one.next[0].starts) : "–") : h("span", {}, "until ", moment(one.closes)),
        one.suppressing,
      ],
    })),
  );
}
