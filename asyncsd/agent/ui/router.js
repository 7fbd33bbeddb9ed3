// The part of the page that is shown, by the URL's fragment: "#/" or "#/services/NAME".

export function href(service) {
  return service === null ? "#/" : `#/services/${encodeURIComponent(service)}`;
}

// The service that the URL names, null for the overview.
export function chosen() {
  const match = /^#\/services\/(.+)$/.exec(location.hash);
  if (!match) return null;
  try {
    return decodeURIComponent(match[1]);
  } catch {
    return match[1]; // not what this page wrote; there will be no such service
  }
}
