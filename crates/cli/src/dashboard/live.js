// Keeps the page up to date. Without it the page can be read as it was when it was loaded.
// Only what differs is changed, so that focus, selection, place and what was opened stay.
"use strict";

const EVERY_MILLISECONDS = 5000;

function merge(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
    old.replaceWith(document.importNode(fresh, true));
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const name of old.getAttributeNames()) {
    if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const name of fresh.getAttributeNames()) {
    if (old.getAttribute(name) !== fresh.getAttribute(name)) old.setAttribute(name, fresh.getAttribute(name));
  }
  const wanted = [...fresh.childNodes];
  const had = [...old.childNodes];
  wanted.forEach((child, index) => {
    if (index < had.length) merge(had[index], child);
    else old.append(document.importNode(child, true));
  });
  had.slice(wanted.length).forEach((child) => child.remove());
}

async function look() {
  if (!document.hidden) {
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (answer.ok) {
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        merge(document.querySelector("main"), fresh.querySelector("main"));
      }
    } catch {
      // The program ended, or is busy: the page stays as it is, with its time on it.
    }
  }
  setTimeout(look, EVERY_MILLISECONDS);
}

setTimeout(look, EVERY_MILLISECONDS);
