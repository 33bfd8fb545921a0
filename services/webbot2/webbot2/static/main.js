import { ApiError, endSession, readSession, startSession } from "./api.js";
import { openChat, startChat, stopAnswer } from "./chat.js";
import { savedLanguage, setText, useLanguage } from "./i18n.js";

const signIn = document.getElementById("sign-in");
const signInForm = document.getElementById("sign-in-form");
const signInError = document.getElementById("sign-in-error");
const chat = document.getElementById("chat");
const who = document.getElementById("who");
const signOut = document.getElementById("sign-out");

function show(visitor) {
  signIn.hidden = visitor !== null;
  chat.hidden = signOut.hidden = visitor === null;
  who.textContent = visitor === null ? "" : `${visitor.user_name} · ${visitor.course}`;
  if (visitor === null) signInForm.elements.user_name.focus();
  else openChat(visitor);
}

function showSignIn(code) {
  show(null);
  setText(signInError, `error.${code}`);
}

signInForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  signInError.textContent = "";
  delete signInError.dataset.text;
  try {
    show(await startSession(Object.fromEntries(new FormData(signInForm))));
  } catch (error) {
    setText(signInError, `error.${error instanceof ApiError ? error.code : "generic"}`);
  }
});

signOut.addEventListener("click", async () => {
  stopAnswer();
  try {
    await endSession();
    show(null);
  } catch (error) {
    showSignIn(error instanceof ApiError ? error.code : "generic");
  }
});

for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", () => useLanguage(button.dataset.language));
}

startChat(showSignIn);
await useLanguage(savedLanguage());
try {
  show(await readSession());
} catch (error) {
  showSignIn(error instanceof ApiError ? error.code : "generic");
}
