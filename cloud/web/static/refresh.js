// Every few seconds the page is fetched again, and those parts of it that changed are replaced in place.
"use strict";

const PERIOD_MS = 5000;

async function refresh() {
  if (document.hidden) return;
  const notice = document.getElementById("offline");
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.status);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(part.id);
      if (next && next.innerHTML !== part.innerHTML) part.replaceChildren(...next.childNodes);
    }
    notice.hidden = true;
  } catch {
    notice.hidden = false;
  }
}

setInterval(refresh, PERIOD_MS);
document.addEventListener("visibilitychange", refresh);
