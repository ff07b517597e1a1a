// Alerts: which there are and were, why each fired, and what is done about it.

import { type Alert, ask, tell } from "../api";
import { asked, worded } from "../dialog";
import { byId, h, link, mark, renew, table } from "../dom";
import { formatted, localText, moment, span } from "../format";
import { plot } from "../plot";
import { reload, type View } from "../view";

const STATES: Record<string, { title: string; path: string; fields: Record<string, string> }> = {
  active: { title: "Active", path: "alerts", fields: { status: "active" } },
  acknowledged: { title: "Acknowledged", path: "alerts", fields: { status: "acknowledged" } },
  suppressed: { title: "Suppressed", path: "alerts", fields: { status: "suppressed" } },
  history: { title: "History", path: "alerts/history", fields: { period: "7d", limit: "200" } },
};

interface Silence {
  id: string;
  state: string;
  matchers: string[];
  createdBy: string;
  comment: string;
  ends: number;
  suppressing: number;
}

interface Story {
  alert: Alert;
  condition: string;
  log: { time: number; kind: string; from: string | null; to: string; reason: { sentence: string } }[];
  events: { time: number; id: string; type: string; subject: string; says: string }[];
  told: { channel: string; type: string; status: string; attempts: number; error?: string }[];
}

interface Evaluations {
  threshold: number | null;
  unit: string;
  condition: string;
  hint: string;
  evaluations: { time: number; value: number | null; samples: number | null; decision: string; status: string; reason: string }[];
}

export function alerts(main: HTMLElement): View {
  const list = byId("list");
  let state = chosen();
  let id = new URLSearchParams(location.search).get("id");

  for (const tab of main.querySelectorAll<HTMLAnchorElement>("[data-state]")) {
    tab.addEventListener("click", (event) => {
      event.preventDefault();
      state = tab.dataset.state ?? "active";
      id = null;
      history.pushState(null, "", tab.href);
      void reload();
    });
  }
  addEventListener("popstate", () => {
    state = chosen();
    id = new URLSearchParams(location.search).get("id");
    void reload();
  });

  async function load(): Promise<void> {
    for (const tab of main.querySelectorAll<HTMLElement>("[data-state]")) {
      if (tab.dataset.state === state) tab.setAttribute("aria-current", "page");
      else tab.removeAttribute("aria-current");
    }
    const tab = STATES[state];
    if (!tab) await silences();
    else rows(tab.title, await ask<Alert[]>(tab.path, tab.fields));
    byId("one").hidden = id === null;
    if (id) await story(id);
  }

  function rows(title: string, found: readonly Alert[]): void {
    if (found.length === 0) return renew(list, h("p", { class: "none" }, state === "active" ? "Nothing is firing." : "None."));
    const open = (alert: Alert) => {
      const to = link(`/alerts?state=${state}&id=${encodeURIComponent(alert.id)}`, alert.title);
      to.addEventListener("click", (event) => {
        event.preventDefault();
        id = alert.id;
        history.pushState(null, "", to.href);
        void reload().then(() => byId("one").focus());
      });
      return to;
    };
    renew(
      list,
      table(
        `${title} alerts`,
        ["Alert", "Severity", "State", "What", "Since", "#Value"],
        found.map((alert) => ({
          cells: [
            open(alert),
            h("span", { class: "mark", data: { severity: alert.severity } }, alert.severity),
            alert.suppressedBy ? `${alert.status} by ${alert.suppressedBy}` : alert.status,
            alert.message,
            moment(alert.timestamp),
            formatted(alert.value, alert.unit),
          ],
          data: { key: alert.id },
        })),
      ),
    );
  }

  async function silences(): Promise<void> {
    const found = await ask<Silence[]>("silences", { state: "active,pending,expired", limit: 200 });
    if (found.length === 0) return renew(list, h("p", { class: "none" }, "Nothing is silenced."));
    const end = (one: Silence) =>
      h("button", { on: { click: () => void expire(one).then(reload) } }, "End");
    renew(
      list,
      table(
        "Silences",
        ["Which alerts", "State", "By", "Why", "Ends", "#Holds back", ""],
        found.map((one) => ({
          data: { key: one.id },
          cells: [one.matchers.join(" and "), one.state, one.createdBy, one.comment, moment(one.ends), one.suppressing, one.state === "expired" ? "" : end(one)],
        })),
      ),
    );
    return undefined;
  }

  const expire = (one: Silence) =>
    asked({
      title: "End the silence",
      says: `Alerts with ${one.matchers.join(" and ")} are told again.`,
      verb: "End it",
      act: async () => {
        await tell("DELETE", `silences/${encodeURIComponent(one.id)}`);
        return "It is over.";
      },
    });

  async function story(wanted: string): Promise<void> {
    const at = encodeURIComponent(wanted);
    let found: Story;
    try {
      found = await ask<Story>(`alerts/${at}/story`);
    } catch (fault) {
      return renew(byId("one"), h("p", { class: "missing" }, worded(fault)));
    }
    const why = await ask<Evaluations>(`alerts/rules/${encodeURIComponent(found.alert.ruleId)}`).catch(() => null);
    const { alert } = found;
    const living = alert.status !== "resolved";
    renew(
      byId("one"),
      h("h2", {}, alert.title, " ", h("span", { class: "mark", data: { severity: alert.severity } }, alert.severity), " ", mark(alert.status, living ? "degraded" : "healthy")),
      h("p", {}, alert.message),
      h("p", {}, h("strong", {}, "Fires while "), found.condition, ". ", alert.reason.sentence),
      alert.annotations.step ? h("p", { class: "step" }, alert.annotations.step) : null!,
      said("Acknowledged", alert.acknowledgment),
      said("Resolved", alert.resolution),
      h(
        "p",
        { class: "buttons" },
        living && alert.status !== "acknowledged" ? h("button", { class: "act", data: { key: `acknowledge ${alert.id}` }, on: { click: () => void acknowledge(alert) } }, "Acknowledge") : null,
        living ? h("button", { data: { key: `resolve ${alert.id}` }, on: { click: () => void resolve(alert) } }, "Resolve") : null,
        h("button", { data: { key: `silence ${alert.id}` }, on: { click: () => void silence(alert) } }, "Silence"),
      ),
      h("h3", {}, "What happened"),
      table("Steps in the life of this alert", ["When", "Step", "Why"], found.log.map((step) => ({ cells: [moment(step.time), step.from ? `${step.from} → ${step.to}` : step.to, step.reason.sentence] }))),
      h("h3", {}, "The events behind it"),
      found.events.length
        ? table("Events", ["When", "Event", "About", "Said"], found.events.map((event) => ({ cells: [moment(event.time), event.type, event.subject, event.says] })))
        : h("p", { class: "none" }, "None are kept any more."),
      h("h3", {}, "Who was told"),
      found.told.length
        ? table("Notifications", ["Channel", "What", "State", "#Attempts"], found.told.map((one) => ({ cells: [one.channel, one.type, one.error ? `${one.status}: ${one.error}` : one.status, one.attempts] })))
        : h("p", { class: "none" }, "Nobody: no channel is meant."),
      h("h3", {}, "The rule's last evaluations"),
      why ? evaluated(why) : null!,
      why
        ? table("Evaluations", ["When", "#Value", "#Samples", "Decision", "Why"], why.evaluations.map((one) => ({ cells: [moment(one.time), formatted(one.value, alert.unit), one.samples ?? "–", one.decision, one.reason] })))
        : h("p", { class: "none" }, "There is no such rule any more."),
    );
  }

  const acknowledge = (alert: Alert) =>
    act(alert, {
      title: "Acknowledge",
      says: `${alert.title} stays on the list, and nobody else is called for it.`,
      verb: "Acknowledge",
      path: "acknowledge",
      fields: [{ name: "notes", label: "What is being done" }, { name: "expires", label: "Until it is active again (30m, 4h; empty: as configured)" }],
    });

  const resolve = (alert: Alert) =>
    act(alert, {
      title: "Resolve",
      says: `${alert.title} is over. It fires again if its condition does.`,
      verb: "Resolve",
      path: "resolve",
      fields: [{ name: "notes", label: "What was done" }],
    });

  async function act(alert: Alert, how: { title: string; says: string; verb: string; path: string; fields: { name: string; label: string }[] }): Promise<void> {
    const done = await asked({
      ...how,
      operator: true,
      act: async (answers) => {
        const body = Object.fromEntries(Object.entries(answers).filter(([, value]) => value));
        const now = await tell<Alert>("POST", `alerts/${encodeURIComponent(alert.id)}/${how.path}`, body);
        return `It is ${now.status} now, and written into the audit.`;
      },
    });
    if (done) await reload();
  }

  async function silence(alert: Alert): Promise<void> {
    const done = await asked({
      title: "Silence",
      says: `Nobody is told of alerts of the rule ${alert.rule} for a while. Critical ones are told all the same.`,
      verb: "Silence",
      operator: true,
      fields: [
        { name: "duration", label: "For how long (30m, 2h, 1d)", value: "2h", required: true },
        { name: "comment", label: "Why", required: true },
      ],
      act: async (answers) => {
        const made = await tell<Silence>("POST", "silences", { ...answers, matchers: [`rule=${alert.rule}`] });
        return `Silenced for ${span(made.ends - Date.now())}.`;
      },
    });
    if (done) await reload();
  }

  let due: ReturnType<typeof setTimeout> | undefined;
  return {
    load,
    every: 15_000,
    listen(live) {
      live.on("active_alerts", () => {
        due ??= setTimeout(() => {
          due = undefined;
          void reload();
        }, 200);
      });
    },
  };
}

/** What the rule saw, beside what it is to stay below or above. */
function evaluated(why: Evaluations): Node {
  const dots = why.evaluations
    .flatMap((one) => (one.value === null ? [] : [{ at: one.time, value: one.value, status: one.decision === "breaching" ? "unhealthy" : "healthy", says: `${formatted(one.value, why.unit)} at ${localText(new Date(one.time))}: ${one.decision}` }]))
    .sort((a, b) => a.at - b.at);
  return dots.length ? plot("What it saw", [{ name: why.condition, dots }], why.unit, why.threshold) : h("span");
}

function chosen(): string {
  const asked = new URLSearchParams(location.search).get("state") ?? "active";
  return asked in STATES || asked === "silences" ? asked : "active";
}

function said(word: string, answer: Alert["acknowledgment"] | Alert["resolution"]): HTMLElement {
  const node = h("p", { class: "quiet" });
  if (!answer) node.hidden = true;
  else renew(node, `${word} by ${answer.operator || "the rule"} at `, moment(answer.timestamp), answer.notes ? `: ${answer.notes}` : "");
  return node;
}
