/** An answer that is not 2xx, or none at all; `code` names a text of the dictionaries. */
export class ApiError extends Error {
  constructor(code) {
    super(code);
    this.code = code;
  }
}

function codeFor(status, problem) {
  if (problem.code === "session_required" || problem.code === "invalid_request") return problem.code;
  if (status === 422) return "invalid_request";
  if (status === 429) return "too_many";
  return [502, 503, 504].includes(status) ? "unavailable" : "generic";
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("network");
  }
  if (response.ok) return response;
  throw new ApiError(codeFor(response.status, await response.json().catch(() => ({}))));
}

function posted(body, options = {}) {
  const headers = { "Content-Type": "application/json", ...options.headers };
  return { ...options, method: "POST", headers, body: JSON.stringify(body) };
}

/** The visitor who is signed in, or null. */
export async function readSession() {
  const response = await request("/api/session");
  return response.status === 204 ? null : response.json();
}

export async function startSession(visitor) {
  return (await request("/api/session", posted(visitor))).json();
}

export async function endSession() {
  await request("/api/session", { method: "DELETE" });
}

/** Yields the answer's text piece by piece; aborting the signal stops the answer on the server. */
export async function* ask(message, signal) {
  const options = posted({ message }, { headers: { Accept: "text/plain" }, signal });
  const response = await request("/api/message", options);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    let piece;
    try {
      piece = await reader.read();
    } catch (error) {
      if (signal.aborted) throw error;
      throw new ApiError("cut");
    }
    if (piece.done) return;
    yield piece.value;
  }
}
