"use strict";
(() => {
  const body = document.body.dataset;
  const rows = document.getElementById("rows");
  const told = document.getElementById("told");
  const more = document.getElementById("more");
  let next = null;
  const send = async (path, value) => {
    const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) });
    if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? `answered ${answer.status}`);
    return answer;
  };
  const guarded = (work) => async (event) => {
    event?.preventDefault();
    try { told.textContent = ""; await work(event); } catch (error) { told.textContent = error.message; }
  };
  const show = async (after) => {
    const asked = Object.fromEntries(new FormData(document.getElementById("filters")));
    asked.filter_by_run_state = Number(asked.filter_by_run_state) || null;
    const found = await (await send(body.list, { ...asked, order: "desc", limit: 100, after })).json();
    if (!after) rows.replaceChildren();
    for (const run of found.items) rows.append(row(run));
    next = found.next;
    more.hidden = !next;
    if (!rows.children.length) told.textContent = "No run matches.";
  };
  const row = (run) => {
    const line = document.createElement("tr");
    for (const text of [run.foreign_id, run.workflow_name, run.status, run.run_state, run.updated_at])
      line.insertCell().textContent = text;
    const actions = line.insertCell();
    const button = (name, work) => {
      const made = document.createElement("button");
      made.textContent = name;
      made.addEventListener("click", guarded(work));
      actions.append(made, " ");
    };
    button("Data", async () => {
      const data = await (await send(body.object, { run_id: run.run_id })).text();
      const dialog = document.getElementById("data");
      dialog.querySelector("pre").textContent = data;
      dialog.showModal();
    });
    const ended = ["Completed", "Cancelled", "Data Deleted"].includes(run.run_state);
    const fit = ended ? ["delete"] : run.run_state === "Paused" ? ["resume", "cancel"] : ["pause", "cancel"];
    for (const action of fit) button(action, async () => {
      const reason = prompt(`Why ${action} ${run.foreign_id}?`);
      if (reason === null) return;
      await send(body.update, { run_id: run.run_id, action, reason });
      await show();
    });
    return line;
  };
  document.getElementById("filters").addEventListener("submit", guarded(() => show()));
  more.addEventListener("click", guarded(() => show(next)));
  guarded(() => show())();
})();
