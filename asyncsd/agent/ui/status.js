// What a check, an instance and a service are: the worst of what speaks of them.

export const STATUSES = ["passing", "warning", "critical", "maintenance"];

export const LABELS = {
  passing: "Passing",
  warning: "Warning",
  critical: "Critical",
  maintenance: "Maintenance",
};

// Problems first. Maintenance is meant to be, so it comes after what isn't.
const ORDER = { critical: 0, warning: 1, maintenance: 2, passing: 3 };

export function isMaintenance(check) {
  return check.id === "_node_maintenance" || check.id.startsWith("_service_maintenance:");
}

export function statusOf(instance) {
  if (instance.checks.some(isMaintenance)) return "maintenance";
  for (const status of ["critical", "warning"]) {
    if (instance.checks.some((check) => check.status === status)) return status;
  }
  return "passing";
}

export function count(instances) {
  const counts = { passing: 0, warning: 0, critical: 0, maintenance: 0 };
  for (const instance of instances) counts[instance.status] += 1;
  return counts;
}

// Of a service: the worst of its instances.
export function worst(counts) {
  return Object.keys(ORDER).find((status) => counts[status]) ?? "passing";
}

// The order of instances, and of checks.
export function byTrouble(one, other) {
  return ORDER[one.status] - ORDER[other.status] || compare(one.id, other.id) || compare(one.key ?? "", other.key ?? "");
}

const names = new Intl.Collator("en", { numeric: true });

export function compare(one, other) {
  return names.compare(one, other);
}
