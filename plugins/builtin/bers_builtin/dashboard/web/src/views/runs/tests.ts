// The tests of a suite that failed or are flaky: each by its name, with what it said and how it was before.

import { ask, quoted } from "../../api";
import { h, link, mark, table } from "../../dom";
import { formatted, localText } from "../../format";
import { address } from "../../runs";
import { AROUND, history, type Said, texts, type Told } from "./told";

const NAMED = 20; // So many names of each kind a suite tells at most: beyond, one that is not named may have failed too.

interface Case {
  name: string;
  status: "failed" | "flaky";
}

export async function cases(run: Told): Promise<HTMLElement[]> {
  const found: Case[] = [
    ...texts(run.event.data?.failed).map((name) => ({ name, status: "failed" as const })),
    ...texts(run.event.data?.flaky).map((name) => ({ name, status: "flaky" as const })),
  ];
  if (!found.length) return [];
  const [before, said] = await Promise.all([history("validation", run.name), messages(run)]);
  const rows = found.map(({ name, status }) => ({
    cells: [
      h("code", {}, name),
      mark(status, status === "failed" ? "unhealthy" : "degraded"),
      message(said.get(name)),
      past(name, before.slice().reverse()),
    ],
    data: { key: name },
  }));
  return [h("h3", {}, "Tests that failed or are flaky"), table("Tests that failed or are flaky", ["Test", "Outcome", "What it said", "This and earlier runs"], rows)];
}

/** What each test said, where it was told by itself. */
async function messages(run: Told): Promise<Map<string, Said>> {
  const from = (run.startedAt ?? run.endedAt ?? 0) - AROUND;
  const until = (run.endedAt ?? Date.now()) + AROUND;
  const found = await ask<Said[]>("records", { type: "testcaserun.*", since: Math.max(0, from), until, where: `data.run=${quoted(run.id)}`, limit: 200 });
  return new Map(found.map((one) => [String(one.data?.test), one]));
}

function message(said: Said | undefined): HTMLElement | string {
  if (!said) return "–";
  const [first = "", ...more] = (said.reason ?? "").split("\n");
  const took = said.duration_ms === undefined ? "" : ` ${formatted(said.duration_ms, "ms")}`;
  if (!more.length) return h("span", {}, first, h("span", { class: "quiet" }, took));
  return h("details", {}, h("summary", {}, first, h("span", { class: "quiet" }, took)), h("pre", {}, said.reason ?? ""));
}

/** A mark for each run of the suite, the oldest first. */
function past(name: string, runs: readonly Told[]): HTMLElement {
  const all = runs.map((run) => {
    const [failed, flaky] = [texts(run.event.data?.failed), texts(run.event.data?.flaky)];
    const [word, status] = failed.includes(name)
      ? ["failed", "unhealthy"]
      : flaky.includes(name)
        ? ["flaky", "degraded"]
        : run.state === "lost" || failed.length >= NAMED
          ? ["not known", "unknown"]
          : ["passed, or was not run", "healthy"];
    return { run, word, status };
  });
  const bad = all.filter(({ word }) => word === "failed" || word === "flaky").length;
  return h(
    "span",
    { class: "past" },
    ...all.map(({ run, word, status }) => {
      const at = link(address(run.id));
      at.dataset.status = status;
      at.title = `${word}, ${localText(new Date(run.endedAt ?? 0))}`;
      at.setAttribute("aria-label", at.title);
      return at;
    }),
    h("span", { class: "quiet word" }, ` ${bad} of ${all.length}`),
  );
}
