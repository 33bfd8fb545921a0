const LANGUAGES = ["ru", "en"];
const KEY = "language";
let dictionary = {};

/** The text for `key` in the chosen language, with {placeholders} filled in. */
export function text(key, values = {}) {
  return dictionary[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** Marks an element so that it follows the language from now on. */
export function setText(element, key, values = {}) {
  element.dataset.text = key;
  element.dataset.values = JSON.stringify(values);
  element.textContent = text(key, values);
}

export function savedLanguage() {
  const saved = localStorage.getItem(KEY);
  return LANGUAGES.includes(saved) ? saved : LANGUAGES[0];
}

/** Loads a dictionary and rewrites every marked element of the page. */
export async function useLanguage(language) {
  const response = await fetch(`/static/locales/${language}.json`);
  dictionary = await response.json();
  localStorage.setItem(KEY, language);
  document.documentElement.lang = language;
  document.title = text("title");
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = text(element.dataset.text, JSON.parse(element.dataset.values ?? "{}"));
  }
  for (const element of document.querySelectorAll("[data-placeholder]")) {
    element.placeholder = text(element.dataset.placeholder);
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", text(element.dataset.label));
  }
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === language));
  }
}
