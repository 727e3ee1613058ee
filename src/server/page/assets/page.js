// Makes the status page live: rows change as gateways boot, and the filter works while one types.
// Everything works without it; then the page shows the moment when it was loaded.
"use strict";

(() => {
  const page = document.body.dataset.page;
  const gateway = document.body.dataset.gateway;
  const live = document.getElementById("live");
  const LEVELS = ["bad", "warn", "busy", "idle", "good"];
  // Pause between two loads of the page that changes cause.
  const LOAD_PAUSE = 2000;
  const TYPING_PAUSE = 150;
  // The server speaks every 15 s.
  const SILENCE = 45000;

  document.documentElement.classList.add("script");

  // --- Times ---

  const span = (seconds) =>
    seconds < 60 ? `${Math.max(0, Math.floor(seconds))} s`
    : seconds < 3600 ? `${Math.floor(seconds / 60)} min`
    : seconds < 172800 ? `${Math.floor(seconds / 3600)} h`
    : `${Math.floor(seconds / 86400)} days`;

  const clock = document.querySelector("#live time");
  // The server's clock counts, not the browser's.
  let ahead = clock ? Date.parse(clock.dateTime) - Date.now() : 0;

  const tick = () => {
    const now = Date.now() + ahead;
    for (const time of document.querySelectorAll("time[data-ago]")) {
      const text = `${span((now - Date.parse(time.dateTime)) / 1000)} ago`;
      if (time.textContent !== text) time.textContent = text;
    }
    for (const time of document.querySelectorAll("time[data-span]")) {
      const text = span((now - Date.parse(time.dateTime)) / 1000);
      if (time.textContent !== text) time.textContent = text;
    }
  };
  setInterval(tick, 5000);

  // --- Loading a part of the page again ---

  let loading = null;
  // Replaces the parts of this page that the server would send otherwise now.
  const load = async (address) => {
    loading?.abort();
    loading = new AbortController();
    try {
      const answer = await fetch(address, { signal: loading.signal, cache: "no-store" });
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const time = fresh.querySelector("#live time");
      if (time) ahead = Date.parse(time.dateTime) - Date.now();
      document.title = fresh.title;
      if (page === "fleet") {
        swap("summary", fresh);
        swap("found", fresh);
      } else {
        keepOpen(fresh);
        swap("main", fresh);
      }
      tick();
    } catch (error) {
      if (error.name !== "AbortError") console.debug(error);
    }
  };

  const swap = (id, fresh) => {
    const [old, now] = [document.getElementById(id), fresh.getElementById(id)];
    if (!old || !now || old.outerHTML === now.outerHTML) return;
    // Whoever moves through the page by keyboard stays where they are.
    const at = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    old.replaceWith(document.adoptNode(now));
    if (at) document.querySelector(`#${id} a[href="${CSS.escape(at)}"]`)?.focus({ preventScroll: true });
  };

  // What is folded out stays so.
  const keepOpen = (fresh) => {
    const title = (one) => one.querySelector("summary")?.textContent.replace(/\d+ \w+ ago/g, "");
    const open = new Map([...document.querySelectorAll("details")].map((one) => [title(one), one.open]));
    for (const one of fresh.querySelectorAll("details")) {
      const was = open.get(title(one));
      if (was !== undefined) one.open = was;
    }
  };

  let due = null;
  // Loads the page again, but not more often than every two seconds.
  const loadSoon = () => {
    due ??= setTimeout(() => { due = null; load(location.href); }, LOAD_PAUSE);
  };

  // --- Changes ---

  const element = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content.firstElementChild;
  };

  const rank = (row) => LEVELS.indexOf(row.dataset.level);
  const sorted = () => !new URLSearchParams(location.search).get("sort");

  const put = (name, html) => {
    const old = document.getElementById(`g-${name}`);
    if (!html) { old?.remove(); return; }
    const row = element(html);
    if (!old) {
      // It may belong on this page now: the server knows.
      loadSoon();
      return;
    }
    const moved = rank(old) !== rank(row);
    const focused = old.contains(document.activeElement);
    row.classList.add("fresh");
    old.replaceWith(row);
    if (focused) row.querySelector("a")?.focus({ preventScroll: true });
    if (moved) {
      if (sorted()) place(row);
      // With a filter it may no longer fit.
      loadSoon();
    }
  };

  // Moves a row behind all that are as bad or worse.
  const place = (row) => {
    const next = [...row.parentElement.children].find((other) => other !== row && rank(other) > rank(row));
    row.parentElement.insertBefore(row, next ?? null);
  };

  const change = (message) => {
    if (message.reload) { loadSoon(); return; }
    if (!message.version) return;
    if (page === "gateway") {
      if (gateway in message.rows) loadSoon();
    } else if (page === "rollouts") {
      loadSoon();
    } else {
      for (const [name, html] of Object.entries(message.rows)) put(name, html);
      const fresh = element(message.summary);
      const filter = new URLSearchParams(location.search).get("show");
      fresh.querySelector(`a[href="/?show=${CSS.escape(filter ?? "")}"]`)?.setAttribute("aria-current", "true");
      document.getElementById("summary")?.replaceWith(fresh);
      const problems = ["bad", "warn"]
        .map((level) => Number(fresh.querySelector(`.counts .${level} strong`)?.textContent))
        .reduce((a, b) => a + b);
      document.title = problems ? `(${problems}) farmgate` : "farmgate";
      document.getElementById("found").dataset.version = message.version;
      tick();
    }
  };

  // --- The stream ---

  let source = null;
  let heard = Date.now();

  const say = (on) => {
    if (!live) return;
    live.classList.toggle("on", on);
    live.classList.toggle("off", !on);
    live.textContent = on ? "live" : "not live: the server does not answer";
  };

  const listen = () => {
    source?.close();
    source = new EventSource("/events");
    source.addEventListener("hello", (event) => {
      heard = Date.now();
      say(true);
      const version = document.getElementById("found")?.dataset.version;
      // Something changed between the page and the stream.
      if (version !== event.data) load(location.href);
    });
    source.addEventListener("change", (event) => {
      heard = Date.now();
      change(JSON.parse(event.data));
    });
    source.onerror = () => {
      say(false);
      // After an answer that is no stream, browsers do not try again.
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
    };
  };

  // A hidden page needs nothing, and browsers allow few connections to one server.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { source?.close(); source = null; } else if (!source) listen();
  });
  setInterval(() => { if (source && Date.now() - heard > SILENCE) { heard = Date.now(); listen(); } }, 5000);
  if (!document.hidden) listen();

  // --- The filter ---

  const form = document.getElementById("filter");
  const address = () => {
    const pairs = [...new FormData(form)].filter(([, value]) => value !== "");
    const query = new URLSearchParams(pairs).toString();
    return query ? `/?${query}` : "/";
  };
  const apply = () => {
    history.replaceState(null, "", address());
    load(location.href);
  };
  let typing = null;
  form?.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(apply, TYPING_PAUSE);
  });
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typing);
    apply();
  });
})();
