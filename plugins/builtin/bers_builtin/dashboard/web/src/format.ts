// Values and times as people write them; the same words as the server's own `format_value`.

export function significant(value: number): string {
  return String(Number(value.toPrecision(3)));
}

export function formatted(value: number | null | undefined, unit = ""): string {
  if (typeof value !== "number" || !Number.isFinite(value)) return "–";
  const size = Math.abs(value) / ROUNDED;
  if (unit === "ms") {
    for (const [name, milliseconds] of TIMES) if (size >= milliseconds) return `${short(value / milliseconds)} ${name}`;
    if (size > 0 && size < 1) return `${short(value * 1000)} µs`;
  }
  if (unit.startsWith("By")) {
    for (const [name, bytes] of SIZES) if (size >= bytes) return `${short(value / bytes)} ${name}${unit.slice(2)}`;
    return `${value.toFixed(0)} B${unit.slice(2)}`;
  }
  const text = Number.isInteger(value) ? value.toFixed(0) : short(value);
  return unit === "" || unit === "1" || unit.startsWith("{") ? text : `${text} ${unit}`;
}

const ROUNDED = 0.9995; // What is at least so much of a unit is written as one of it, and not as a thousand of the one below.
const TIMES = [["d", 86_400_000], ["h", 3_600_000], ["min", 60_000], ["s", 1000]] as const;
const SIZES = [["TB", 1e12], ["GB", 1e9], ["MB", 1e6], ["kB", 1e3]] as const;

/** Three digits that mean something, and never an exponent where the number is large. */
function short(value: number): string {
  return Math.abs(value) >= 999.5 ? value.toFixed(0) : significant(value);
}

/** A moment in the reader's own time; UTC is its title. */
export function moment(milliseconds: number): HTMLTimeElement {
  const node = document.createElement("time");
  const when = new Date(milliseconds);
  node.dateTime = when.toISOString();
  node.title = utcText(when);
  node.textContent = localText(when);
  return node;
}

export const utcText = (when: Date): string => `${when.toISOString().slice(0, 19).replace("T", " ")} UTC`;

/** Both times, where there is nothing to rest a pointer on: the reader's own, and UTC. */
export const bothTexts = (when: Date): string => `${localText(when)} (${utcText(when)})`;

/** Without its day, where that is today. */
export function localText(when: Date): string {
  const clock = [when.getHours(), when.getMinutes(), when.getSeconds()].map(two).join(":");
  return dayText(when) === dayText(new Date()) ? clock : `${dayText(when)} ${clock}`;
}

const two = (number: number): string => String(number).padStart(2, "0");
const dayText = (when: Date): string => `${when.getFullYear()}-${two(when.getMonth() + 1)}-${two(when.getDate())}`;

const DAY = 86_400; // Seconds.

/** What stands below a chart at each of these seconds, so many apart: the clock, and the day wherever that is another. */
export function axisTexts(seconds: readonly number[], apart: number): string[] {
  let before = "";
  return seconds.map((second) => {
    const when = new Date(second * 1000);
    const day = dayText(when);
    if (apart >= DAY) return day;
    const clock = [when.getHours(), when.getMinutes(), ...(apart < 60 ? [when.getSeconds()] : [])].map(two).join(":");
    const told = day === before ? clock : `${clock}\n${day}`;
    before = day;
    return told;
  });
}

/** A sentence with its full stop, and, where there is one, what to do about what it says. */
export function sentence(text: string, remedy: string | null = null): string {
  const whole = text && !/[.!?]$/.test(text) ? `${text}.` : text;
  return [whole, remedy].filter(Boolean).join(" ");
}

/** Labels as they are written where one filters by them. */
export const labelled = (labels: Record<string, string>): string[] => Object.entries(labels).map(([name, value]) => `${name}=${value}`);

/** How long something has been: `3 d 4 h`, `12 min`. */
export function span(milliseconds: number): string {
  const minutes = Math.floor(milliseconds / 60_000);
  const days = Math.floor(minutes / 1440);
  const hours = Math.floor(minutes / 60) % 24;
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes % 60} min`;
  return minutes ? `${minutes} min` : `${Math.max(0, Math.floor(milliseconds / 1000))} s`;
}
