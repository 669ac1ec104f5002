// The workbench's script: live figures, marks, confirmations, progress of jobs, and the form that sends a request.
// What a message or the server says is only ever set as text (textContent), never as HTML.

const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const RECONNECT = 3000; // milliseconds
// Figures come every other second. A connection that is silent for longer is lost, though nothing may have said so: the
// machine slept, or a network is gone.
const SILENCE = 7000;

const messages = (number) => `${number.toLocaleString("en")} ${number === 1 ? "message" : "messages"}`;

// The text of a failed response: a problem document (RFC 9457) says what is wrong and what to do.
async function problemOf(response) {
  try {
    const problem = await response.json();
    if (problem.detail || problem.title) return String(problem.detail || problem.title);
  } catch { /* not JSON: the status has to do */ }
  return `The server answered with status ${response.status}.`;
}

async function call(method, path, body) {
  const options = { method, headers: {}, credentials: "same-origin", cache: "no-store" };
  if (method !== "GET") {
    options.headers["Content-Type"] = "application/json"; // what no form of another site can send
    options.body = JSON.stringify(body ?? {});
  }
  const response = await fetch(path, options);
  if (!response.ok) throw Object.assign(new Error(await problemOf(response)), { status: response.status });
  return response.status === 204 ? null : response.json();
}

const whyOf = (error) => (error instanceof TypeError ? "The connection is lost. Nothing is known of what was asked; look again." : error.message);

// --- Live figures -------------------------------------------------------------------------------------------------

function showFigures({ texts, states }) {
  for (const place of all("[data-live]")) {
    const key = place.dataset.live;
    if (key in texts && place.textContent !== texts[key]) place.textContent = texts[key];
    if (states[key]) place.dataset.state = states[key];
    else delete place.dataset.state;
  }
}

function live(place) {
  const say = (state, text) => {
    if (place.dataset.state !== state) one(".text", place).textContent = text; // told once, not at each event
    place.dataset.state = state;
  };
  let source = null;
  let timer = null;
  let silence = null;
  let last = "";

  const stop = () => {
    source?.close();
    source = null;
    clearTimeout(timer);
    clearTimeout(silence);
  };
  const lost = (text) => say("lost", `${text} These figures are of ${last || "when the page was loaded"}. Trying again…`);
  const listen = () => {
    clearTimeout(silence);
    silence = setTimeout(() => {
      lost("Nothing has come for a while.");
      start();
    }, SILENCE);
  };
  const start = () => {
    stop();
    listen();
    source = new EventSource(place.dataset.events);
    source.addEventListener("figures", (event) => {
      const figures = JSON.parse(event.data);
      last = figures.at;
      listen();
      showFigures(figures);
      say("live", "Live");
    });
    source.addEventListener("stopping", () => lost("This process is stopping."));
    source.onerror = () => {
      if (place.dataset.state !== "lost") lost("The connection is lost.");
      if (source?.readyState === EventSource.CLOSED) timer = setTimeout(start, RECONNECT); // it gives up at an error
    };
  };
  // A browser has few connections to a host: a page that nobody looks at keeps none.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      stop();
      say("still", "Paused while the page is not visible.");
    } else start();
  });
  addEventListener("pagehide", stop);
  addEventListener("pageshow", (event) => event.persisted && start());
  start();
}

// --- Marks, and what is done with messages ---------------------------------------------------------------------------

function actions(list) {
  const dialog = one("#confirm");
  const marks = all(".mark", list);
  const markAll = one("#mark-all", list);
  const marked = () => marks.filter((mark) => mark.checked).map((mark) => mark.value);
  const buttons = all("[data-act]", list);

  const update = () => {
    const number = marked().length;
    for (const button of buttons.filter((each) => each.dataset.what === "marked")) {
      button.disabled = number === 0;
      const verb = button.dataset.act === "replay" ? "Replay" : "Drop";
      button.textContent = number ? `${verb} ${number} marked` : `${verb} marked`;
    }
    if (markAll) {
      markAll.checked = number > 0 && number === marks.length;
      markAll.indeterminate = number > 0 && number < marks.length;
    }
  };

  for (const each of [...marks, list, one(".actions", list)].filter(Boolean)) each.hidden = false;
  for (const mark of marks) mark.addEventListener("change", update);
  markAll?.addEventListener("change", () => {
    for (const mark of marks) mark.checked = markAll.checked;
    update();
  });
  for (const button of buttons) button.addEventListener("click", () => ask(button));
  addEventListener("pageshow", update); // a browser may restore marks
  update();

  function ask(button) {
    const { act, what } = button.dataset;
    const queue = list.dataset.queue;
    const ids = what === "one" ? [list.dataset.id] : what === "marked" ? marked() : null;
    const number = ids ? ids.length : Number(list.dataset.matching);
    const filtered = !ids && list.dataset.filtered === "yes" ? " that fit the filter" : "";
    const verb = act === "replay" ? "Replay" : "Drop";
    const yes = one("#confirm-yes", dialog);
    const problem = one("#confirm-problem", dialog);

    one("#confirm-title", dialog).textContent = `${verb} ${messages(number)}${filtered}?`;
    one("#confirm-text", dialog).textContent = act === "replay"
      ? `They are sent to the queue ${queue} again, and leave the parking queue when the broker has confirmed each of them.`
      : "They are deleted for good. Nothing brings them back.";
    one("[data-for=replay]", dialog).hidden = act !== "replay";
    yes.textContent = `${verb} ${messages(number)}`;
    yes.classList.toggle("danger", act === "drop");
    yes.disabled = false;
    problem.hidden = true;

    yes.onclick = async () => {
      yes.disabled = true;
      problem.hidden = true;
      const order = { why: one("#confirm-why", dialog).value };
      if (ids) order.ids = ids;
      else {
        if (filtered) order.filter = JSON.parse(list.dataset.filter);
        else order.all = true;
        order.expected_count = number;
      }
      if (act === "replay") {
        order.force = one("#confirm-force", dialog).checked;
        const rate = one("#confirm-rate", dialog).valueAsNumber;
        if (rate > 0) order.rate = rate;
      }
      try {
        const job = await call("POST", `${list.dataset.path}/${act}`, order);
        location.assign(`/workbench/job?id=${encodeURIComponent(job.id)}`);
      } catch (error) {
        problem.textContent = whyOf(error);
        problem.hidden = false;
        yes.disabled = false;
      }
    };
    one("#confirm-no", dialog).onclick = () => dialog.close();
    dialog.onclose = () => button.focus();
    dialog.showModal();
    one("#confirm-no", dialog).focus(); // Enter by mistake does nothing
  }
}

// --- A job --------------------------------------------------------------------------------------------------------

function follow(place) {
  const part = (name) => one(`[data-job=${name}]`, place);
  const path = `/v1/parking/jobs/${encodeURIComponent(place.dataset.id)}`;
  const cancel = one("#cancel-job", place);
  const isOver = () => !["counting", "running"].includes(place.dataset.state);
  const states = { counting: "Counting the messages", running: "At work", done: "Done", canceled: "Stopped", failed: "Failed" };
  let said = "";

  const show = (job) => {
    place.dataset.state = job.state;
    const through = job.done + job.skipped + job.missing + job.failed;
    for (const name of ["done", "skipped", "missing", "failed"]) part(name).textContent = job[name].toLocaleString("en");
    const total = job.total ?? 0;
    const text = total && job.state !== "counting" ? `${states[job.state]}: ${through.toLocaleString("en")} of ${messages(total)}` : states[job.state];
    if (text !== said) part("text").textContent = said = text;
    const progress = part("progress");
    progress.max = total || 1;
    if (isOver() && !total) progress.value = 1;
    else if (job.state !== "counting") progress.value = through;
    part("error").textContent = job.error;
    part("error").hidden = !job.error;
    if (cancel) cancel.hidden = isOver();
  };
  const next = async () => {
    try {
      show(await call("GET", path));
    } catch (error) {
      if (error.status === 404) place.dataset.state = "unknown"; // nobody knows the job any more
      part("text").textContent = said = error.status === 404 ? whyOf(error) : `${whyOf(error)} Trying again…`;
    }
    if (!isOver()) setTimeout(next, 1000);
  };
  cancel?.addEventListener("click", async () => {
    cancel.disabled = true;
    try {
      await call("DELETE", path);
    } catch (error) {
      part("error").textContent = whyOf(error);
      part("error").hidden = false;
      cancel.disabled = false;
    }
  });
  if (!isOver()) {
    if (cancel) cancel.hidden = false;
    next();
  }
}

// --- Sending a request ----------------------------------------------------------------------------------------------

function send(form) {
  const button = one("button[type=submit]", form);
  button.disabled = false;
  one("#s-file", form).addEventListener("change", (event) => {
    const type = event.target.files[0]?.type;
    if (type) one("#s-type", form).value = type;
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const fields = form.elements;
    const box = one("#answer-box");
    const status = one("#answer-status");
    const body = one("#answer-body");
    button.disabled = true;
    box.hidden = false;
    status.textContent = "Sent. Waiting for the answer…";
    body.textContent = "";
    const began = performance.now();
    try {
      const response = await fetch(form.getAttribute("action"), {
        method: "POST",
        headers: { "Content-Type": fields.type.value, "routing-key": fields.key.value },
        body: one("#s-file", form).files[0] ?? fields.body.value,
        credentials: "same-origin",
      });
      const answer = await response.text();
      const seconds = ((performance.now() - began) / 1000).toFixed(2);
      const type = response.headers.get("content-type") ?? "no content type";
      status.textContent = `Status ${response.status} after ${seconds} s, ${type}, RqUID ${response.headers.get("rquid") ?? "none"}`;
      body.textContent = answer; // as it came: parsing it would round large numbers
    } catch (error) {
      status.textContent = whyOf(error);
    }
    button.disabled = false;
    one("#answer").focus();
  });
}

// --- The demo -------------------------------------------------------------------------------------------------------

function failures(button) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const say = one("#failures");
    button.disabled = true;
    try {
      await call("POST", button.dataset.failures);
      say.textContent = "Done. They are parked in a moment: look at “Parked” below.";
    } catch (error) {
      say.textContent = whyOf(error);
    }
    button.disabled = false;
  });
}

const parts = { "[data-events]": live, "#list": actions, "#job": follow, "#send": send, "[data-failures]": failures };
for (const [selector, begin] of Object.entries(parts)) {
  const found = one(selector);
  if (found) begin(found);
}
