// Values and times as people write them; the same words as the server's own `format_value`.

export function significant(value: number): string {
  return String(Number(value.toPrecision(3)));
}

export function formatted(value: number | null | undefined, unit = ""): string {
  if (typeof value !== "number" || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (unit === "ms" && size >= 3_600_000) return `${significant(value / 3_600_000)} h`;
  if (unit === "ms" && size >= 60_000) return `${significant(value / 60_000)} min`;
  if (unit === "ms" && size >= 1000) return `${significant(value / 1000)} s`;
  if (unit.startsWith("By")) {
    for (const [name, bytes] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]] as const) {
      if (size >= bytes) return `${significant(value / bytes)} ${name}${unit.slice(2)}`;
    }
    return `${value.toFixed(0)} B${unit.slice(2)}`;
  }
  const text = size >= 1000 || Number.isInteger(value) ? value.toFixed(0) : significant(value);
  return unit === "" || unit === "1" || unit.startsWith("{") ? text : `${text} ${unit}`;
}

/** A moment in the reader's own time; UTC is its title. */
export function moment(milliseconds: number): HTMLTimeElement {
  const node = document.createElement("time");
  const when = new Date(milliseconds);
  node.dateTime = when.toISOString();
  node.title = `${when.toISOString().slice(0, 19).replace("T", " ")} UTC`;
  node.textContent = localText(when);
  return node;
}

export function localText(when: Date): string {
  const two = (number: number) => String(number).padStart(2, "0");
  const day = `${when.getFullYear()}-${two(when.getMonth() + 1)}-${two(when.getDate())}`;
  const clock = `${two(when.getHours())}:${two(when.getMinutes())}:${two(when.getSeconds())}`;
  return day === todayText() ? clock : `${day} ${clock}`;
}

function todayText(): string {
  const now = new Date();
  return `${now.getFullYear()}-${String(now.getMonth() + 1).padStart(2, "0")}-${String(now.getDate()).padStart(2, "0")}`;
}

/** How long something has been: `3 d 4 h`, `12 min`. */
export function span(milliseconds: number): string {
  const minutes = Math.floor(milliseconds / 60_000);
  const days = Math.floor(minutes / 1440);
  const hours = Math.floor(minutes / 60) % 24;
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes % 60} min`;
  return minutes ? `${minutes} min` : `${Math.max(0, Math.floor(milliseconds / 1000))} s`;
}
