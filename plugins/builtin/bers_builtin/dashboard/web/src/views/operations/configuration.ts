// The configuration that is in place, and what is wrong with the one that was tried last.

import { ask } from "../../api";
import { button, buttons } from "../../deeds";
import { byId, facts, h, mark, renew } from "../../dom";
import { moment } from "../../format";

interface Located {
  /** `file:line:col`. */
  place: string;
  path: string;
  message: string;
}

interface Configuration {
  generation: number;
  hash: string;
  file: string;
  loadedAt: number;
  result: string;
  faults: Located[];
  reload: { at: number; by: string } | null;
}

export async function configuration(): Promise<void> {
  const now = await ask<Configuration>("config");
  const rows: [string, Node | string][] = [
    ["Generation", String(now.generation)],
    ["Hash", h("code", {}, now.hash)],
    ["File", now.file],
    ["In place since", moment(now.loadedAt)],
    ["Last attempt", h("span", {}, mark(now.result, now.result === "failed" ? "unhealthy" : "healthy"), now.reload ? h("span", {}, ` by ${now.reload.by} `, moment(now.reload.at)) : null)],
  ];
  renew(
    byId("configuration"),
    facts(rows),
    now.faults.length
      ? h("ul", { class: "faults" }, ...now.faults.map((one) => h("li", {}, h("code", {}, located(one)), ` ${one.message}`)))
      : "",
    buttons(
      button({
        title: "Read the configuration again",
        says: `${now.file} is read, and what differs is changed. Where anything is wrong with it, nothing changes.`,
        verb: "Reload",
        path: "config/reload",
        told: (answer: Configuration) => `Generation ${answer.generation} is in place.`,
      }),
    ),
  );
}

const located = (one: Located) => [one.place, one.path].filter(Boolean).join(": ");
