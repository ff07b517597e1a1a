// Keeps the page up to date in place: by the live stream, and by polling where there is none.
"use strict";

(() => {
  const API = "/api/monitoring/";
  const refresh = Number(document.body.dataset.refresh) || 5000;
  const VERDICTS = { healthy: "on target", degraded: "at risk", unhealthy: "off target" };
  const byId = (id) => document.getElementById(id);
  let stream = null;
  let polling = null;

  function show(node, text) {
    if (node && node.textContent !== text) node.textContent = text;
  }

  function state(name, text) {
    byId("live").dataset.state = name;
    show(byId("live"), text);
  }

  // The same words as the server's own format_value.
  function significant(number) {
    return String(Number(number.toPrecision(3)));
  }

  function formatted(value, unit) {
    if (typeof value !== "number") return "–";
    const size = Math.abs(value);
    if (unit === "ms" && size >= 60000) return significant(value / 60000) + " min";
    if (unit === "ms" && size >= 1000) return significant(value / 1000) + " s";
    if (unit.startsWith("By")) {
      for (const [name, bytes] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
        if (size >= bytes) return significant(value / bytes) + " " + name + unit.slice(2);
      }
      return value.toFixed(0) + " B" + unit.slice(2);
    }
    const text = size >= 1000 || Number.isInteger(value) ? value.toFixed(0) : significant(value);
    return unit === "" || unit === "1" || unit.startsWith("{") ? text : text + " " + unit;
  }

  function clock(milliseconds) {
    return new Date(milliseconds).toISOString().slice(0, 19).replace("T", " ");
  }

  function span(milliseconds) {
    const minutes = Math.floor(milliseconds / 60000);
    const days = Math.floor(minutes / 1440);
    const hours = Math.floor(minutes / 60) % 24;
    if (days) return `${days} d ${hours} h`;
    if (hours) return `${hours} h ${minutes % 60} min`;
    return minutes ? `${minutes} min` : `${Math.floor(milliseconds / 1000)} s`;
  }

  function made(name, text, data = {}, className = "") {
    const node = document.createElement(name);
    if (text) node.textContent = text;
    if (className) node.className = className;
    Object.assign(node.dataset, data);
    return node;
  }

  function line(...parts) {
    const node = made("p");
    node.append(...parts);
    return node;
  }

  function found(section) {
    const note = byId(section).closest("section").querySelector(".missing");
    if (note) note.remove();
  }

  function touched() {
    show(byId("now"), clock(Date.now()));
  }

  function metrics(values) {
    found("indicators");
    for (const row of document.querySelectorAll("[data-metric]")) {
      const value = values[row.dataset.metric];
      if (!value) continue;
      if (value.unit) row.dataset.unit = value.unit;
      const at = (field) => row.querySelector(`[data-field="${field}"]`);
      show(at("current"), formatted(value.current, row.dataset.unit));
      if ("p95" in value) show(at("p95"), formatted(value.p95, row.dataset.unit));
      if ("healthStatus" in value) {
        const judged = typeof value.target === "number";
        at("status").dataset.status = judged ? value.healthStatus : "unknown";
        const none = typeof value.current === "number" && !judged ? "no target" : "no data";
        show(at("status"), (judged && VERDICTS[value.healthStatus]) || none);
      }
    }
    touched();
  }

  function health(report) {
    found("checks");
    const title = document.title.split(" · ").slice(1).join(" · ");
    document.title = `${report.overallStatus} · ${title}`;
    byId("overall").dataset.status = report.overallStatus;
    show(byId("overall"), report.overallStatus);
    show(byId("environment"), report.environment);
    show(byId("version"), report.version);
    show(byId("uptime"), span(report.uptime));
    byId("checks").replaceChildren(...report.checks.map((check) => {
      const item = made("li");
      const said = [check.message, check.remediation].filter(Boolean).join(" ");
      item.append(
        line(made("span", check.status, { status: check.status }, "mark"), " ", made("strong", check.name)),
        made("p", said, {}, "quiet"),
      );
      return item;
    }));
  }

  function alerts(list, total = list.length) {
    found("alerts");
    show(byId("alert-count"), String(total));
    byId("no-alerts").hidden = total > 0;
    byId("alerts").replaceChildren(...list.map((alert) => {
      const item = made("li", "", { severity: alert.severity });
      const quiet = made("p", `${alert.status} since ${clock(alert.timestamp)} · `, {}, "quiet");
      quiet.append(made("code", alert.id));
      item.append(
        line(made("span", alert.severity, { severity: alert.severity }, "mark"), " ", made("strong", alert.title)),
        made("p", alert.message),
        quiet,
      );
      return item;
    }));
  }

  const STATUS = { success: "healthy", finished: "healthy", running: "unknown", skip: "unknown", cancel: "degraded" };

  function run(kind, event) {
    const body = byId(kind);
    const told = event.data || {};
    const name = event.subject || told.service || event.id;
    const started = event.type.endsWith(".started.v1");
    const old = [...body.rows].find((row) => row.dataset.run === name);
    if (old && started) return;
    const lost = event.type.endsWith(".lost.v1");
    const outcome = started ? "running" : lost ? "lost" : told.outcome || "finished";
    const row = made("tr", "", { run: name });
    const head = made("th", name);
    head.scope = "row";
    const mark = made("td", "", { label: "Outcome" });
    mark.append(made("span", outcome, { status: STATUS[outcome] || "unhealthy" }, "mark"));
    const time = made("time", clock(Date.parse(event.time)));
    time.dateTime = event.time;
    const when = made("td", "", { label: "Time" });
    when.append(time);
    row.append(
      head,
      mark,
      made("td", formatted(told.duration_ms, "ms"), { label: "Took" }, "n"),
      made("td", told.environment || "–", { label: "Environment" }),
      when,
    );
    if (old) old.remove();
    body.prepend(row);
    while (body.rows.length > 8) body.lastElementChild.remove();
    body.closest("table").hidden = false;
    byId(`no-${kind}`).hidden = true;
    found(kind);
  }

  async function ask(path) {
    const reply = await fetch(API + path, { headers: { accept: "application/json" }, signal: AbortSignal.timeout(10000) });
    const body = await reply.json(); // Health answers 503 with a full report when something is down.
    if (!body.success) throw new Error(body.error ? body.error.message : String(reply.status));
    return body.data;
  }

  // Resolves to whether the server answered at all.
  async function poll() {
    const answers = await Promise.allSettled([
      ask("metrics").then(metrics),
      ask("health").then(health),
      ask("alerts").then((list) => alerts(list)),
    ]);
    return answers.some((answer) => answer.status === "fulfilled");
  }

  let healthDue = null;
  function healthSoon() {
    healthDue ??= setTimeout(() => {
      healthDue = null;
      ask("health").then(health).catch(() => {});
    }, 1000);
  }

  function fallBack() {
    if (polling) return;
    const again = async () => {
      const answered = await poll();
      if (!polling) return;
      state(answered ? "polling" : "offline", answered ? `every ${refresh / 1000} s` : "offline");
      if (stream && stream.readyState === EventSource.CLOSED) connect(); // It gives up for good where it is refused.
      polling = setTimeout(again, refresh);
    };
    state("polling", `every ${refresh / 1000} s`);
    polling = setTimeout(again, 0);
  }

  function live() {
    clearTimeout(polling);
    polling = null;
    state("live", "live");
  }

  function connect() {
    if (stream) stream.close();
    stream = new EventSource(API + "events");
    const on = (name, react) => stream.addEventListener(name, (message) => react(JSON.parse(message.data)));
    on("connected", live);
    on("ping", touched);
    on("performance_metrics", (frame) => metrics(frame.metrics));
    on("active_alerts", (frame) => alerts(frame.alerts, frame.total));
    on("health_status", healthSoon);
    on("gap", () => poll());
    for (const kind of ["build", "validation", "deployment"]) {
      for (const step of ["started", "completed", "failed"]) on(`${kind}-${step}`, (event) => run(kind, event));
    }
    stream.onerror = fallBack;
  }

  if ("EventSource" in window) connect();
  else fallBack();
  // The stream tells the newest values; P95 and the verdict are REST's.
  setInterval(() => { if (!polling) poll(); }, Math.max(refresh, 15000));
})();
