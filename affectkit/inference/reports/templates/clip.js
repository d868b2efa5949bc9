"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const clip = JSON.parse(byId("readout").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
  const times = new Float64Array(bytes(clip.times));
  const frames = new Int32Array(bytes(clip.frames));
  const why = new Uint8Array(bytes(clip.why));
  const count = times.length;
  const width = clip.signals.length;
  const colors = ["#56b4e9", "#f0e442", "#009e73", "#cc79a7", "#e69f00", "#d55e00"];
  const color = (face) => colors[face % colors.length];
  const faces = clip.faces.map((face) => ({
    ...face,
    values: new Uint16Array(bytes(face.values)),
    boxes: new Int16Array(bytes(face.boxes)),
    points: new Int16Array(bytes(face.points)),
    said: new Int32Array(bytes(face.said)),
  }));

  const video = byId("video");
  const play = byId("play");
  const slider = byId("frame");
  const status = byId("status");
  const clock = byId("clock");
  const sentence = byId("sentence");
  sentence.hidden = !clip.sentences.some((text) => text);
  const boxes = byId("boxes");
  const sections = [...document.querySelectorAll(".face")];
  const rows = new Map(sections.map((section) => [section, [...section.querySelectorAll("[data-signal]")].map((row) => ({
    row,
    bar: row.querySelector(".bar div"),
    text: row.querySelector("output"),
    signal: clip.signals[row.dataset.signal],
    index: Number(row.dataset.signal),
  }))]));
  let chosen = sections[0];
  let current = 0;

  // The value of a signal, from 0 to 1 of its range; undefined where there is none.
  const value = (face, place, signal) => {
    const at = (place - face.first) * width + signal;
    const code = place < face.first ? undefined : face.values[at];
    return code === undefined || code > clip.scale ? undefined : code / clip.scale;
  };
  const shown = (face, place) => clip.signals.some((_, k) => value(face, place, k) !== undefined);
  const box = (face, place) => {
    const at = (place - face.first) * 4;
    return place < face.first || at + 4 > face.boxes.length || face.boxes[at] === -32768 ? undefined : face.boxes.subarray(at, at + 4);
  };
  const shape = (name, facts) => {
    const part = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, fact] of Object.entries(facts)) part.setAttribute(key, fact);
    return part;
  };
  // The lines of a face: landmarks, gaze and pose, each above its dark edge.
  const lines = (face, place) => {
    const start = (place - face.first) * clip.points * 2;
    if (place < face.first || start + clip.points * 2 > face.points.length) return [];
    return clip.lines.flatMap((line) => {
      const at = line.places.flatMap((point) => [face.points[start + 2 * point], face.points[start + 2 * point + 1]]);
      if (at.includes(-32768)) return [];
      // The middle of the first pixel is at 0 in the table and at 0.5 in the picture.
      const points = at.map((step) => (step * clip.grain + 0.5).toFixed(2)).join(" ");
      const kind = line.wide ? "wide" : "thin";
      return [shape("polyline", { points, class: `edge ${kind}` }), shape("polyline", { points, class: kind, stroke: line.color })];
    });
  };
  // The last frame that has begun at a time.
  const placeAt = (time) => {
    let low = 0;
    let high = count - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (times[middle] <= time + 0.1 * clip.interval) low = middle;
      else high = middle - 1;
    }
    return low;
  };
  const span = (text, kind) => {
    const part = document.createElement("span");
    part.textContent = text;
    part.className = kind || "";
    return part;
  };
  const moment = (place) => `Frame ${frames[place]}` + (clip.timed ? ` · ${times[place].toFixed(2)} s` : "");
  const likeliest = (face, place) => {
    let best;
    clip.signals.forEach((signal, k) => {
      const p = signal.kind === "expression" ? value(face, place, k) : undefined;
      if (p !== undefined && (best === undefined || p > best.p)) best = { name: signal.name, p };
    });
    return best;
  };

  const show = (place) => {
    current = place;
    slider.value = place;
    const at = (100 * (times[place] + 0.5 * clip.interval - clip.start)) / (clip.end - clip.start);
    chosen.style.setProperty("--at", `${Math.min(at, 100).toFixed(3)}%`);
    const face = faces.find((one) => String(one.id) === chosen.dataset.face);
    for (const { row, bar, text, signal, index } of rows.get(chosen)) {
      const part = face && value(face, place, index);
      bar.style.width = part === undefined ? "0" : `${100 * part}%`;
      const number = signal.low + part * (signal.top - signal.low);
      text.textContent = part === undefined ? "–" : number.toFixed(signal.top > 1 ? 1 : 2);
      const active = part !== undefined && signal.threshold !== null && number >= signal.threshold - 1e-5;
      row.classList.toggle("active", active);
    }
    clock.textContent = clip.timed ? `${times[place].toFixed(2)} s` : `${frames[place]}`;
    const parts = count > 1 ? [span(moment(place))] : [];
    const said = face && likeliest(face, place);
    if (faces.length > 1) parts.push(span(`Face ${face.id}`));
    if (said) parts.push(span(`${said.name} ${said.p.toFixed(2)}`, "said"));
    const reason = why.length ? why[place] : 0;
    if (reason) parts.push(span(clip.reasons[reason - 1] || "no values", "why"));
    else if (face && !shown(face, place)) parts.push(span("not in view", "why"));
    status.replaceChildren(...parts);
    sentence.textContent = (face && clip.sentences[face.said[place - face.first]]) || "";
    slider.setAttribute("aria-valuetext", parts.map((part) => part.textContent).join(", "));
    if (boxes) {
      boxes.replaceChildren(...faces.flatMap((one) => {
        const edges = box(one, place);
        const [x, y, width, height] = edges || [];
        const rect = edges ? [shape("rect", { x, y, width, height, stroke: color(one.id) })] : [];
        return [...rect, ...lines(one, place)];
      }));
    }
  };

  // Seek to the middle of a frame, so that rounding cannot show its neighbour. One seek at a time.
  let wanted = null;
  const seek = () => {
    if (wanted === null || video.seeking || video.readyState < 1) return;
    const next = wanted + 1 < count ? times[wanted + 1] : times[wanted] + clip.interval;
    const middle = times[wanted] + 0.5 * Math.min(clip.interval, next - times[wanted]);
    video.currentTime = clip.offset + middle;
    wanted = null;
  };
  const toggle = () => (video.paused ? video.play() : video.pause());
  const go = (place) => {
    show(Math.max(0, Math.min(count - 1, place)));
    if (video) {
      wanted = current;
      seek();
    }
  };
  if (video) {
    const source = byId("media");
    if (source) {
      video.src = URL.createObjectURL(new Blob([bytes(source.textContent)], { type: video.dataset.mime }));
      source.remove();
    }
    const follow = (time) => {
      if (wanted === null && !video.seeking) show(placeAt(time - clip.offset));
    };
    video.addEventListener("seeked", () => (wanted === null ? follow(video.currentTime) : seek()));
    video.addEventListener("loadedmetadata", seek);
    if (video.requestVideoFrameCallback) {
      const next = (_, facts) => {
        follow(facts.mediaTime);
        video.requestVideoFrameCallback(next);
      };
      video.requestVideoFrameCallback(next);
    } else {
      const tick = () => {
        if (!video.paused) follow(video.currentTime);
        requestAnimationFrame(tick);
      };
      requestAnimationFrame(tick);
    }
    // Browsers draw their controls over mouth and chin while the video stands still: only for who is there to use them.
    const controls = () => { video.controls = video.matches(":hover, :focus"); };
    for (const kind of ["pointerenter", "pointerleave", "focus", "blur"]) video.addEventListener(kind, controls);
    video.tabIndex = 0;
    video.controls = false;
    play.hidden = false;
    play.addEventListener("click", toggle);
    for (const kind of ["play", "pause"]) {
      video.addEventListener(kind, () => { play.textContent = video.paused ? "Play" : "Pause"; });
    }
    video.addEventListener("error", () => status.replaceChildren(span("The video cannot be played. Is it still where it was?", "why")));
  }

  // A pointer over the timelines: it seeks while the video stands still, and a press always does.
  for (const strip of document.querySelectorAll(".strip")) {
    const at = (event) => {
      const edges = strip.getBoundingClientRect();
      const part = Math.max(0, Math.min(1, (event.clientX - edges.left) / edges.width));
      go(placeAt(clip.start + part * (clip.end - clip.start)));
    };
    strip.addEventListener("pointerdown", (event) => {
      strip.setPointerCapture(event.pointerId);
      at(event);
    });
    strip.addEventListener("pointermove", (event) => {
      const pressed = event.buttons > 0;
      if (pressed || (event.pointerType === "mouse" && (!video || video.paused))) at(event);
    });
  }
  slider.disabled = false;
  slider.addEventListener("input", () => go(Number(slider.value)));
  slider.addEventListener("keydown", (event) => {
    if (event.key !== " " || !video) return;
    event.preventDefault();
    toggle();
  });

  const choose = (face) => {
    chosen = sections.find((section) => section.dataset.face === face) || sections[0];
    for (const section of sections) section.hidden = section !== chosen;
    for (const radio of document.querySelectorAll("[name=face]")) radio.checked = radio.value === chosen.dataset.face;
    show(current);
  };
  for (const radio of document.querySelectorAll("[name=face]")) radio.addEventListener("change", () => choose(radio.value));
  for (const dot of document.querySelectorAll("[data-color]")) dot.style.background = color(Number(dot.dataset.color));
  for (const button of document.querySelectorAll("[data-goto]")) {
    button.addEventListener("click", () => {
      choose(button.dataset.of);
      go(Math.floor(Number(button.dataset.goto) / clip.step));
    });
  }

  const theme = byId("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  const label = () => {
    theme.textContent = isDark() ? "Light" : "Dark";
    theme.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
  };
  theme.hidden = false;
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    label();
  });
  dark.addEventListener("change", label);
  label();
  document.querySelector(".layout").classList.add("live");
  choose(sections[0].dataset.face);
})();
