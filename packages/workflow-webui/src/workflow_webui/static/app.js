// What a script adds to pages that work without one: keys, ticking, finding, and staying fresh.
"use strict";
(() => {
  const $ = (selector, within = document) => within.querySelector(selector);
  const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
  const root = document.body.dataset.root;
  const typing = (target) => target.closest("input:not([type=checkbox]), select, textarea, [contenteditable]") !== null;

  // -- theme ----------------------------------------------------------------------------------
  $("[data-theme-toggle]")?.addEventListener("click", () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
    const next = now === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    try { localStorage.setItem("workflow-theme", next); } catch { /* for this page alone, then */ }
  });

  // -- the list -------------------------------------------------------------------------------
  document.addEventListener("change", (event) => {
    const target = event.target;
    if (target.matches("[data-submit]")) {
      if (target.id === "workflow") $("#status")?.remove(); // another workflow's number
      target.form.requestSubmit();
    }
    if (target.matches("[data-tick-all]"))
      for (const box of $$("input[name=run]")) box.checked = target.checked;
    if (target.matches("[data-tick-all], input[name=run]")) told();
  });
  const told = () => {
    const label = $("[data-chosen-count]");
    const ticked = $$("input[name=run]:checked").length;
    if (label) label.textContent = ticked ? `${ticked} ticked` : "Ticked";
  };
  // an emptied filter is not to be in the URL
  document.addEventListener("submit", (event) => {
    if (event.target.matches(".filters"))
      for (const field of event.target.elements) if (field.value === "") field.disabled = true;
  });
  addEventListener("pageshow", () => { for (const field of $$(".filters [disabled]")) field.disabled = false; told(); });

  // -- searching on ---------------------------------------------------------------------------
  // A page looks through some runs; this asks for one after the other until something is found.
  // The page that shows it is opened by its own URL, so where it is can be kept and sent.
  $("[data-search-on]")?.addEventListener("click", async (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const place = $("#searched");
    let url = event.target.href;
    place.setAttribute("aria-busy", "true");
    for (;;) {
      let fresh = null;
      try {
        const answer = await fetch(url, { headers: { Accept: "text/html" } });
        if (answer.ok && !answer.redirected) fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      } catch { /* the page itself says what is wrong */ }
      const further = fresh && $("[data-search-on]", fresh);
      if (!further || $("tr[data-run]", fresh)) break;
      place.textContent = $("#searched", fresh).firstChild.textContent.split(",")[0] + " …";
      url = further.href;
    }
    location.assign(url);
  });

  // -- keys -----------------------------------------------------------------------------------
  const rows = () => $$("[data-rows] tbody tr[data-run]");
  const step = (by) => {
    const all = rows();
    if (!all.length) return;
    const now = all.findIndex((row) => row.ariaSelected === "true");
    const next = all[Math.min(all.length - 1, Math.max(0, now < 0 ? 0 : now + by))];
    for (const row of all) row.ariaSelected = row === next ? "true" : null;
    next.scrollIntoView({ block: "nearest" });
  };
  const selected = () => rows().find((row) => row.ariaSelected === "true");
  const places = { o: "/", r: "/runs", w: "/workflows", s: "/schedules", f: "/flow" };
  let going = false;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.key === "Escape") {
      for (const open of $$("details.action[open]")) { open.open = false; $("summary", open).focus(); }
      if (typing(event.target)) event.target.blur();
      return;
    }
    if (typing(event.target) || $("dialog[open]")) return;
    if (going) { going = false; if (places[event.key]) location.href = root + places[event.key]; return; }
    const does = {
      "/": () => ($("[data-search]") ?? $("[data-find]"))?.focus(),
      "?": () => $("#help").showModal(),
      j: () => step(1), k: () => step(-1),
      x: () => { const box = selected() && $("input[name=run]", selected()); if (box) { box.checked = !box.checked; told(); } },
      Enter: () => { if (event.target === document.body || event.target.id === "main") $("a", selected() ?? document.createElement("i"))?.click(); else return false; },
      n: () => $("[rel=next]")?.click(), p: () => $("[rel=prev]")?.click(),
      g: () => { going = true; setTimeout(() => { going = false; }, 1500); },
    }[event.key];
    if (does && does() !== false) event.preventDefault();
  });
  $("[data-help]")?.addEventListener("click", () => $("#help").showModal());
  document.addEventListener("click", (event) => {
    for (const open of $$("details.action[open]")) if (!open.contains(event.target)) open.open = false;
  });
  document.addEventListener("toggle", (event) => {
    if (event.target.matches?.("details.action[open]")) $("[name=reason]", event.target)?.focus();
  }, true);

  // -- finding in the data --------------------------------------------------------------------
  document.addEventListener("input", (event) => {
    if (!event.target.matches("[data-find]")) return;
    const wanted = event.target.value.trim().toLowerCase();
    for (const item of $$("[data-tree] li")) {
      const hit = wanted !== "" && item.textContent.toLowerCase().includes(wanted);
      item.classList.toggle("away", wanted !== "" && !hit);
      item.classList.toggle("found", hit && $("details", item) === null);
      const inner = $("details", item);
      if (hit && inner) inner.open = true;
    }
  });

  // -- staying fresh --------------------------------------------------------------------------
  // A stream says that something changed; the page then asks for itself and takes over what is
  // new. Where there can be no stream it asks now and then. A hidden page does neither: browsers
  // allow few connections per host, and tabs in the background must not use them up.
  const watch = document.body.dataset.watch;
  const state = $("[data-live-state]");
  const standing = (text, kind) => { if (state) { state.textContent = text; state.dataset.liveState = kind; } };
  let stream = null, timer = null, asking = false, again = false;

  const takeOver = (fresh) => {
    for (const old of $$("[data-live][id]")) {
      const now = fresh.getElementById(old.id);
      if (!now || now.outerHTML === old.outerHTML) continue;
      if ($("details.action[open]", old)) continue; // somebody is filling in a form there
      if (old.contains(document.activeElement) && typing(document.activeElement)) continue;
      const ticked = new Set($$("input[name=run]:checked", old).map((box) => box.value));
      const chosen = $("tr[aria-selected=true]", old)?.dataset.run;
      const closed = new Set($$("[data-tree] details:not([open])", old).map(path));
      const focused = document.activeElement?.getAttribute?.("href");
      const scrolled = $$("*", old).map((e) => [e.scrollTop, e.scrollLeft]);
      old.replaceWith(now);
      for (const box of $$("input[name=run]", now)) box.checked = ticked.has(box.value);
      for (const row of $$("tr[data-run]", now)) if (row.dataset.run === chosen) row.ariaSelected = "true";
      for (const inner of $$("[data-tree] details", now)) if (closed.has(path(inner))) inner.open = false;
      $$("*", now).forEach((e, place) => { if (scrolled[place]) [e.scrollTop, e.scrollLeft] = scrolled[place]; });
      if (focused && document.activeElement === document.body) $(`a[href="${CSS.escape(focused)}"]`, now)?.focus();
    }
    told();
  };
  const path = (item) => {
    const names = [];
    for (let e = item; e && !e.matches("[data-tree]"); e = e.parentElement)
      if (e.matches("details")) names.push($("summary", e).textContent.trim());
    return names.join("/");
  };
  const refresh = async () => {
    if (asking) { again = true; return; }
    asking = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.ok && !answer.redirected) {
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        takeOver(fresh);
        if (document.body.dataset.watch === "poll" && fresh.body.dataset.watch === "") stop();
      }
    } catch { /* the next one may do better */ } finally {
      asking = false;
      if (again) { again = false; setTimeout(refresh, 500); }
    }
  };
  const poll = (seconds) => {
    standing("Asks every " + seconds + " s", "poll");
    clearInterval(timer);
    timer = setInterval(refresh, seconds * 1000);
  };
  const stop = () => { stream?.close(); stream = null; clearInterval(timer); timer = null; };
  const start = () => {
    stop();
    if (watch === "poll") return poll(2);
    stream = new EventSource(`${root}/live?watch=${encodeURIComponent(watch)}`);
    let seen;
    stream.addEventListener("standing", (event) => {
      standing("Live", "live");
      if (seen !== undefined && seen !== event.data) refresh(); // changed between two streams
      seen = event.data;
    });
    stream.addEventListener("changed", (event) => { seen = event.data; refresh(); });
    stream.addEventListener("gone", stop);
    stream.onerror = () => { if (stream?.readyState === EventSource.CLOSED) { stop(); poll(5); } else standing("Reconnects", "poll"); };
  };
  if (watch) {
    start();
    document.addEventListener("visibilitychange", () => { if (document.hidden) stop(); else { refresh(); start(); } });
    addEventListener("pagehide", stop);
    addEventListener("pageshow", (event) => { if (event.persisted) { refresh(); start(); } });
  }
})();
