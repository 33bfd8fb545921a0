import { ApiError, ask } from "./api.js";
import { setText, text } from "./i18n.js";

const log = document.getElementById("log");
const scroller = document.getElementById("scroller");
const announcer = document.getElementById("announcer");
const composer = document.getElementById("composer");
const input = document.getElementById("message");
const send = document.getElementById("send");
const stop = document.getElementById("stop");
const NEAR_BOTTOM = 80;

let running = null;

function element(name, className) {
  const created = document.createElement(name);
  created.className = className;
  return created;
}

function addMessage(author) {
  const article = element("article", `message ${author}`);
  const heading = element("h2", "author");
  const body = element("p", "body");
  setText(heading, author);
  article.append(heading, body);
  log.append(article);
  return { article, body };
}

function addNote(article, className, key) {
  const note = element("p", className);
  setText(note, key);
  article.append(note);
  announcer.textContent = note.textContent;
}

function keepAtBottom(change) {
  const distance = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
  change();
  if (distance < NEAR_BOTTOM) scroller.scrollTop = scroller.scrollHeight;
}

function grow() {
  input.style.height = "auto";
  input.style.height = `${input.scrollHeight}px`;
}

function setRunning(controller) {
  running = controller;
  send.hidden = controller !== null;
  stop.hidden = controller === null;
}

async function answer(question, onSessionEnd) {
  addMessage("you").body.textContent = question;
  const { article, body } = addMessage("assistant");
  const dots = element("span", "dots");
  dots.append(element("i", ""), element("i", ""), element("i", ""));
  dots.setAttribute("role", "img");
  dots.setAttribute("aria-label", text("typing"));
  body.append(dots);
  article.setAttribute("aria-busy", "true");
  announcer.textContent = text("typing");
  scroller.scrollTop = scroller.scrollHeight;

  const controller = new AbortController();
  setRunning(controller);
  const answered = document.createTextNode("");
  try {
    for await (const piece of ask(question, controller.signal)) {
      keepAtBottom(() => {
        if (dots.isConnected) dots.replaceWith(answered);
        answered.appendData(piece);
      });
    }
    announcer.textContent = answered.data;
  } catch (error) {
    if (error instanceof ApiError && error.code === "session_required") onSessionEnd(error.code);
    else if (controller.signal.aborted) addNote(article, "note", "stopped");
    else addNote(article, "error", `error.${error instanceof ApiError ? error.code : "generic"}`);
    scroller.scrollTop = scroller.scrollHeight;
  } finally {
    dots.remove();
    body.hidden = answered.data === "";
    article.removeAttribute("aria-busy");
    if (running === controller) setRunning(null);
    input.focus();
  }
}

/** Empties the conversation and greets the visitor. */
export function openChat(visitor) {
  log.replaceChildren();
  const { body } = addMessage("assistant");
  setText(body, "welcome", { name: visitor.user_name });
  input.focus();
}

/** Stops the answer that is being written, if any. */
export function stopAnswer() {
  running?.abort();
}

/** Connects the page's controls; `onSessionEnd(code)` is called when the session is refused. */
export function startChat(onSessionEnd) {
  composer.addEventListener("submit", (event) => {
    event.preventDefault();
    const question = input.value.trim();
    if (question === "" || running !== null) return;
    input.value = "";
    grow();
    answer(question, onSessionEnd);
  });
  input.addEventListener("input", grow);
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    composer.requestSubmit();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") stopAnswer();
  });
  stop.addEventListener("click", stopAnswer);
}
