// A rule as the server tells of it, and what trying another one answers.

export interface Report {
  id: string;
  name: string;
  type: string;
  severity: string;
  origin: string;
  state: string;
  alerts: number;
  pending: number;
  lastValue: number | null;
  lastEvaluation: number | null;
  threshold: number | null;
  unit: string;
  condition: string;
  hint: string;
}

export interface Seen {
  time: number;
  value: number | null;
  samples: number | null;
  decision: string;
  status: string;
  reason: string;
}

export interface Story extends Report {
  source: string;
  evaluations: Seen[];
}

export interface Occurrence {
  labels: Record<string, string>;
  from: number;
  to: number | null;
  durationMs: number;
  told: number;
  message: string;
  change: string;
  byMs: number;
}

export interface Account {
  fired: number;
  firingMs: number;
  told: number;
  reached: number;
  stopped: string;
  spans: [from: number, to: number][];
  alerts: Occurrence[];
}

export interface Fault {
  line: number;
  column: number;
  path: string;
  message: string;
}

export interface Trial {
  since: number;
  until: number;
  faults: Fault[];
  name: string;
  condition: string;
  metric: string;
  unit: string;
  threshold: number | null;
  would: Account | null;
  inForce: Account | null;
  did: Account | null;
  changes: Record<string, number>;
  stretches: { from: number; to: number; fedWith: string; widthMs: number[]; events: number; windows: number; cannotShow: string[] }[];
}
