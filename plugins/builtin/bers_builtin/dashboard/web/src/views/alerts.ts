// Alerts: which there are and were, why each fired, what is done about it, and the rules that make them.

import "../alerts/alerts.css";
import { list } from "../alerts/list";
import { address, type Chosen, LISTS, read } from "../alerts/chosen";
import { silences } from "../alerts/silences";
import { statistics } from "../alerts/statistics";
import { story } from "../alerts/story";
import { ask } from "../api";
import { byId, h } from "../dom";
import { Bench } from "../rules/bench";
import { rules } from "../rules/list";
import type { Report } from "../rules/rule";
import { atMost } from "../pace";
import { inOrder, reload, type View } from "../view";

export function alerts(main: HTMLElement): View {
  let chosen = read();
  let bench: Bench | null = null;
  const filter = byId("filter") as HTMLFormElement;

  function choose(part: Partial<Chosen>): Promise<boolean> {
    chosen = { ...chosen, ...part };
    history.pushState(null, "", address(chosen));
    return reload();
  }

  for (const tab of main.querySelectorAll<HTMLAnchorElement>("[data-state]")) {
    tab.addEventListener("click", (event) => {
      event.preventDefault();
      const state = tab.dataset.state ?? "active";
      const keeps = LISTS.includes(state) && LISTS.includes(chosen.state);
      void choose({ state, id: null, after: "", ...(keeps ? {} : { rule: "" }) });
    });
  }
  addEventListener("popstate", () => {
    chosen = read();
    void reload();
  });
  filter.addEventListener("submit", (event) => event.preventDefault());
  filter.addEventListener("change", (event) => {
    const { name, value } = event.target as HTMLInputElement;
    void choose({ [name]: value.trim(), after: "" });
  });

  /** Lead to what was chosen, once it is there; who has gone on meanwhile is left where they are. */
  const lead = (id: string, part: Partial<Chosen>) => {
    const from = document.activeElement;
    const isThere = () => [from, document.body].includes(document.activeElement) || byId("list").contains(document.activeElement);
    void choose(part).then(() => isThere() && byId(id).focus());
  };
  const open = (id: string) => lead("one", { id });
  const openRule = (rule: string) => lead("rule", { rule });
  const [listed, told] = [inOrder(), inOrder()];

  async function load(): Promise<void> {
    const wanted = chosen;
    const { state, id } = wanted;
    // An answer is drawn where it is still what is looked at, and nothing newer is drawn.
    const asked = (turn: () => () => boolean) => {
      const isNews = turn();
      return () => wanted === chosen && isNews();
    };
    for (const tab of main.querySelectorAll<HTMLElement>("[data-state]")) {
      if (tab.dataset.state === state) tab.setAttribute("aria-current", "page");
      else tab.removeAttribute("aria-current");
    }
    controls(filter, chosen);
    byId("one").hidden = id === null;
    byId("rule").hidden = state !== "rules" || !chosen.rule;
    if (!LISTS.includes(state)) byId("more").replaceChildren();
    await Promise.all([shown(wanted, asked(listed)), id ? story(id, asked(told)) : null]);
  }

  async function shown(wanted: Chosen, isNews: () => boolean): Promise<void> {
    if (wanted.state === "silences") return silences(isNews);
    if (wanted.state === "statistics") return statistics(wanted, isNews);
    if (wanted.state !== "rules") return list(wanted, isNews, choose, open);
    if (wanted.rule) bench ??= new Bench(byId("rule"));
    await Promise.all([rules(isNews, openRule), wanted.rule ? bench?.open(wanted.rule) : null]);
    return undefined;
  }

  void ask<Report[]>("alerts/rules")
    .then((all) => byId("rules").replaceChildren(...all.map((one) => h("option", { attributes: { value: one.name } }))))
    .catch(() => undefined);

  const changed = atMost(200, reload);
  let before: string | undefined; // What is told right after a stream began is asked for anyway.
  return {
    load,
    every: 15_000,
    listen(live) {
      live.on("active_alerts", ({ total, alerts }) => {
        const now = JSON.stringify([total, alerts.map(({ id, status, count }) => [id, status, count])]);
        if (before !== undefined && now !== before) changed();
        before = now;
      });
    },
  };
}

/** The filters that this list has, and what they say. */
function controls(form: HTMLFormElement, chosen: Chosen): void {
  const isList = LISTS.includes(chosen.state);
  const hasPeriod = chosen.state === "history" || chosen.state === "statistics";
  form.hidden = !isList && !hasPeriod;
  for (const label of form.querySelectorAll<HTMLElement>("[data-for]")) label.hidden = label.dataset.for === "period" ? !hasPeriod : !isList;
  for (const name of ["period", "rule", "severity"] as const) {
    const field = form.elements.namedItem(name) as HTMLInputElement;
    if (field !== document.activeElement) field.value = chosen[name];
  }
}
