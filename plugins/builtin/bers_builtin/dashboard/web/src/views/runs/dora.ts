// DORA's figures, each with what it is made of and what is missing of that.

import { ask } from "../../api";
import { byId, h, renew, table } from "../../dom";
import { formatted, localText } from "../../format";
import { plot } from "../../plot";
import type { Chosen } from "./told";

interface Figure {
  value: number | null;
  unit: string;
  n: number;
  method: string;
  band: string | null;
  completeness: string[];
  excluded: Record<string, number>;
  previous: { value: number | null; change: number | null };
}

interface Answer {
  metrics: Record<string, Figure>;
  counts: Record<string, number>;
  environments: string[];
  coverage: { since: number; percent: number };
  series: { start: number; deployments: number; failed: number; rework: number }[];
}

const FLAGS: Record<string, string> = {
  partial_coverage: "there are no records of a part of the period",
  no_incident_source: "nobody tells of incidents",
};

export async function dora({ service, environment }: Chosen): Promise<void> {
  const answer = await ask<Answer>("dora", { period: "30d", ...(service ? { service } : {}), ...(environment ? { environment } : {}) });
  const { counts, coverage, environments, series } = answer;
  const rows = Object.entries(answer.metrics).map(([name, figure]) => ({
    cells: [
      spelled(name),
      h("strong", { class: "word" }, value(figure.value, figure.unit)),
      h("span", { class: "word" }, figure.band ?? "–"),
      h("span", { class: "word" }, figure.previous.value === null ? "–" : value(figure.previous.value, figure.unit)),
      figure.n,
      h("span", {}, figure.method, h("span", { class: "quiet" }, ` ${missing(figure)}`)),
    ],
    data: { key: name },
  }));
  const days = series.filter((day) => day.deployments);
  const each = (name: string, count: (day: (typeof series)[0]) => number, status: string) => ({
    name,
    dots: series.map((day) => ({ at: day.start, value: count(day), status, says: `${count(day)} ${name}, from ${localText(new Date(day.start))}` })),
  });
  renew(
    byId("dora"),
    h("h2", {}, "DORA, 30 days"),
    h(
      "p",
      { class: "quiet" },
      `Of ${counts.deployments} deployments to ${environments.join(", ") || "no environment that counts as production"}${service ? ` of ${service}` : ""}: ${counts.succeeded} well, ${counts.failed} not; ${counts.incidents} incidents. Records from ${localText(new Date(coverage.since))}, ${formatted(coverage.percent, "%")} of the period.`,
    ),
    table("DORA's five figures", ["Figure", "#Value", "Band", "#30 days before", "#Of", "How"], rows),
    days.length > 1 ? plot("Deployments a day", [each("deployments", (day) => day.deployments, "healthy"), each("failed", (day) => day.failed, "unhealthy")], "") : "",
  );
}

const value = (of: number | null, unit: string) => (unit.endsWith("/d") && of !== null ? `${formatted(of)} a day` : formatted(of, unit));

function missing({ completeness, excluded }: Figure): string {
  const left = Object.entries(excluded).map(([why, count]) => `${count} left out: ${why.replaceAll("_", " ")}`);
  const lacking = completeness.map((flag) => FLAGS[flag] ?? flag.replaceAll("_", " "));
  return [lacking.length ? `Not complete: ${lacking.join(", ")}.` : "", left.length ? `${left.join("; ")}.` : ""].filter(Boolean).join(" ");
}

const spelled = (name: string) => name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).replace(/^./, (letter) => letter.toUpperCase());
