// The page of `landscape report`: draws the figures of the data element with Plotly and moves them with one slider.
//
// A panel of the data has `data` and `layout` of Plotly and `moves`, each with ascending `steps`:
//   cursor  a line, shape number `shape`, that stands at the step of the slider, on the x or y `axis`
//   marker  a circle, shape number `shape`, at `x[i]`, `y[i]`
//   point   trace number `trace` becomes the single point `x[i]`, `y[i]`, `z[i]`
//   frames  each of `traces` gets its i-th `x` and `y`
//   words   `texts[i]` stands below the figure
// where i is the last of the steps that has passed.
"use strict";

(() => {
  const source = JSON.parse(document.getElementById("data").textContent);
  const moments = source.moments;
  const find = (id) => document.getElementById(id);
  const prefers = (query) => window.matchMedia(`(${query})`);
  const slider = find("time");
  const FIRST_WAY = 12000; // milliseconds to play everything
  const LEAST_PAUSE = 40;
  const CALM_PAUSE = 500; // where less motion is wanted
  const TURN = Math.PI / 18;
  const MANY = 3.5; // powers of ten, from which on they alone are written out
  const AXIS = 46; // pixels for numbers and title of the horizontal axis
  const BAR = 46; // for a bar of colours that lies above
  const NARROW = 480; // pixels of a figure
  const ROOM = 1.5; // width over height that a landscape needs; in less the viewer is farther, for the labels at its sides

  // ---- numbers -------------------------------------------------------------------------------------------------

  // A matrix as packing.py wrote it: single precision, or logarithms in 16 bits.
  function unpack(packed) {
    const bytes = Uint8Array.from(atob(packed.base64), (character) => character.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    const width = packed.type === "f4" ? 4 : 2;
    const rows = [];
    for (let start = 0; start < bytes.length; start += width * packed.columns) {
      const row = new Array(packed.columns);
      for (let column = 0; column < packed.columns; column += 1) {
        const at = start + width * column;
        if (packed.type === "f4") {
          const value = view.getFloat32(at, true);
          row[column] = Number.isFinite(value) ? value : null;
        } else {
          const exponent = packed.from + packed.step * view.getUint16(at, true);
          row[column] = packed.exponents ? exponent : 10 ** exponent;
        }
      }
      rows.push(row);
    }
    return rows;
  }

  // What a surface shows: its heights are the values within a range, or their logarithms; hover boxes say the values.
  function raised(trace) {
    const [low, high, logarithmic] = trace.scale;
    const height = (value) => {
      if (value === null) return null;
      const inside = Math.min(Math.max(value, low), high);
      return logarithmic ? Math.log10(inside) : inside;
    };
    const { values, scale, ...others } = trace;
    return { ...others, customdata: values, z: values.map((row) => row.map(height)) };
  }

  function unpackAll(value, key) {
    if (value === null || typeof value !== "object") return value;
    if (value.matrix !== undefined) {
      const rows = unpack({ ...source.matrices[value.matrix], ...value });
      return (key === "x" || key === "y") && rows.length === 1 ? rows[0] : rows;
    }
    if (Array.isArray(value)) return value.map((item) => unpackAll(item));
    const result = Object.fromEntries(Object.entries(value).map(([name, item]) => [name, unpackAll(item, name)]));
    return result.scale ? raised(result) : result;
  }

  // The place of the last step that is not after `now`; the first before it.
  function placeOf(steps, now) {
    let low = 0;
    let high = steps.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (steps[middle] <= now) low = middle + 1;
      else high = middle;
    }
    return Math.max(low - 1, 0);
  }

  // ---- colours -------------------------------------------------------------------------------------------------

  const SOFT = "-soft";

  function color(name) {
    const soft = name.endsWith(SOFT);
    const property = `--${soft ? name.slice(1, -SOFT.length) : name.slice(1)}`;
    const value = getComputedStyle(document.documentElement).getPropertyValue(property).trim();
    return soft ? `${value}40` : value;
  }

  // Names that begin with @, where a colour is expected, become those of the theme.
  function colored(value, key = "") {
    if (typeof value === "string") return value.startsWith("@") && /color/i.test(key) ? color(value) : value;
    if (Array.isArray(value)) return /color/i.test(key) || typeof value[0] === "object" ? value.map((item) => colored(item, key)) : value;
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, colored(item, name)]));
  }

  function merged(base, over) {
    const result = { ...base };
    for (const [name, value] of Object.entries(over)) {
      const both = value && typeof value === "object" && !Array.isArray(value) && base[name] && typeof base[name] === "object";
      result[name] = both ? merged(base[name], value) : value;
    }
    return result;
  }

  function axisLook() {
    return {
      automargin: true, gridcolor: "@grid", linecolor: "@quiet", tickcolor: "@quiet", zerolinecolor: "@rule",
      zeroline: false, ticks: "outside", ticklen: 4, showline: true, title: { standoff: 8, font: { size: 12 } },
      tickfont: { size: 11 }, exponentformat: "power", minexponent: 4,
    };
  }

  function look(panel) {
    const narrow = panel.place.clientWidth < NARROW;
    const general = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", uirevision: "kept",
      width: panel.place.clientWidth, height: panel.place.clientHeight,
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: "@ink" },
      margin: panel.space ? { l: 0, r: 0, t: 0, b: 0 } : { l: 10, r: 10, t: lying(panel) ? BAR : 8, b: AXIS },
      hoverlabel: { bgcolor: "@card", bordercolor: "@quiet", font: { color: "@ink", size: 12 }, align: "left" },
      dragmode: panel.space ? "orbit" : prefers("pointer: coarse").matches ? false : "zoom",
    };
    if (panel.space) {
      const wall = {
        gridcolor: "@rule", zeroline: false, showbackground: false, linecolor: "@quiet", tickfont: { size: 11 }, nticks: 6,
        title: { font: { size: 12 } }, showspikes: false,
      };
      general.scene = { xaxis: wall, yaxis: wall, zaxis: wall };
    } else {
      general.xaxis = { ...axisLook(), automargin: false };
      general.yaxis = axisLook();
    }
    const layout = merged(general, panel.layout);
    if (layout.yaxis?.type === "log") Object.assign(layout.yaxis, decades(panel) < MANY ? { tickformat: "~g" } : { dtick: 1 });
    if (narrow && layout.yaxis?.scaleanchor) layout.yaxis.constraintoward = "top";
    if (panel.space) {
      const factor = Math.max(1, (ROOM * panel.place.clientHeight) / panel.place.clientWidth);
      const { camera } = layout.scene;
      layout.scene = { ...layout.scene, camera: { ...camera, eye: scaled(camera.eye, factor) } };
    }
    return colored(layout);
  }

  // How many powers of ten the values of a panel span.
  function decades(panel) {
    if (panel.layout.yaxis.range) return panel.layout.yaxis.range[1] - panel.layout.yaxis.range[0];
    const values = panel.data.flatMap((trace) => trace.y || []).filter((value) => value > 0);
    return Math.log10(Math.max(...values) / Math.min(...values));
  }

  function scaled(eye, factor) {
    return { x: eye.x * factor, y: eye.y * factor, z: eye.z * factor };
  }

  // Whether the bar of the colours lies above the figure, for want of room beside it.
  function lying(panel) {
    return panel.place.clientWidth < NARROW && panel.data.some((trace) => trace.colorbar);
  }

  function traces(panel) {
    return colored(panel.data).map((trace) => {
      if (!trace.colorbar) return trace;
      const bar = { tickfont: { size: 11 }, outlinewidth: 0, title: { font: { size: 12 } } };
      // In the container's frame it moves no margins, which then would have to be found by trial.
      const above = {
        orientation: "h", x: 0.5, xanchor: "center", xref: "paper", yref: "container", y: 1, yanchor: "top", len: 1,
        thickness: 10, ypad: 4, title: { text: "" }, // which stands in the panel's title or below
      };
      return { ...trace, colorbar: merged(merged(bar, trace.colorbar), lying(panel) ? above : {}) };
    });
  }

  // ---- panels --------------------------------------------------------------------------------------------------

  const CONFIGURATION = { displayModeBar: false, responsive: false, doubleClick: "reset", showTips: false };

  function canDrawInSpace() {
    try {
      const canvas = document.createElement("canvas");
      return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
    } catch {
      return false;
    }
  }

  const panels = source.panels.map((content, number) => {
    const figure = find(`panel-${number}`);
    const panel = {
      ...unpackAll(content), figure, place: figure.querySelector(".plot"), said: [...figure.querySelectorAll(".now")],
      drawn: false, visible: false, shown: null,
    };
    panel.choices = panel.choices || [];
    return panel;
  });

  function now() {
    return moments.length ? moments[slider ? Number(slider.value) : moments.length - 1] : 0;
  }

  // What of a panel belongs to a step, written into its data and layout; returns the changes for Plotly.
  function moveTo(panel, step) {
    const relayout = {};
    const restyle = new Map();
    let words = 0;
    for (const move of panel.moves) {
      const at = placeOf(move.steps, step);
      if (move.kind === "words") {
        if (panel.said[words]) panel.said[words].textContent = move.texts[at];
        words += 1;
      } else if (move.kind === "cursor") {
        relayout[`shapes[${move.shape}].${move.axis}0`] = step;
        relayout[`shapes[${move.shape}].${move.axis}1`] = step;
        Object.assign(panel.layout.shapes[move.shape], { [`${move.axis}0`]: step, [`${move.axis}1`]: step });
      } else if (move.kind === "marker") {
        relayout[`shapes[${move.shape}].xanchor`] = move.x[at];
        relayout[`shapes[${move.shape}].yanchor`] = move.y[at];
        Object.assign(panel.layout.shapes[move.shape], { xanchor: move.x[at], yanchor: move.y[at] });
      } else if (move.kind === "point") {
        restyle.set(move.trace, { x: [move.x[at]], y: [move.y[at]], z: [move.z[at]] });
      } else if (move.kind === "frames" && panel.frame !== at) {
        panel.frame = at;
        for (const one of move.traces) {
          restyle.set(one.trace, one.x ? { x: one.x[at], y: one.y[at] } : { y: one.y[at] });
        }
      }
    }
    for (const [trace, values] of restyle) Object.assign(panel.data[trace], values);
    return { relayout, restyle };
  }

  async function draw(panel) {
    panel.drawn = true;
    panel.shown = now();
    moveTo(panel, panel.shown);
    if (panel.space && !canDrawInSpace()) {
      const message = document.createElement("p");
      message.className = "absent";
      message.textContent = "This browser cannot draw in three dimensions (WebGL is off). The map shows the same surface.";
      panel.place.replaceChildren(message);
      panel.absent = true;
      return;
    }
    panel.width = panel.place.clientWidth;
    panel.height = panel.place.clientHeight;
    await Plotly.newPlot(panel.place, traces(panel), look(panel), CONFIGURATION);
    if (!panel.ready) panel.place.addEventListener("dblclick", () => panel.space && reset(panel));
    panel.ready = true;
    if (panel.shown !== now()) follow(panel);
  }

  function follow(panel) {
    if (!panel.ready || panel.absent) return;
    const step = now();
    panel.shown = step;
    const { relayout, restyle } = moveTo(panel, step);
    const chosen = [...restyle.keys()];
    if (chosen.length) {
      const changes = {};
      for (const name of new Set([...restyle.values()].flatMap(Object.keys))) {
        changes[name] = chosen.map((trace) => restyle.get(trace)[name] ?? panel.data[trace][name]);
      }
      Plotly.update(panel.place, changes, relayout, chosen);
    } else if (Object.keys(relayout).length) {
      Plotly.relayout(panel.place, relayout);
    }
  }

  function redraw(panel) {
    if (!panel.ready || panel.absent) return;
    const layout = { ...look(panel), width: panel.width, height: panel.height };
    if (panel.space && panel.place.layout.scene.camera) layout.scene.camera = panel.place.layout.scene.camera;
    Plotly.react(panel.place, traces(panel), layout, CONFIGURATION);
  }

  // Margins of another size would stay in a figure that is only changed: it is made anew.
  function fit(panel) {
    const { clientWidth: width, clientHeight: height } = panel.place;
    if (!panel.ready || panel.absent || !width || (panel.width === width && panel.height === height)) return;
    const camera = panel.space && (panel.width < NARROW) === (width < NARROW) && panel.place.layout.scene.camera;
    panel.width = width;
    panel.height = height;
    const layout = look(panel);
    if (camera) layout.scene.camera = camera;
    Plotly.newPlot(panel.place, traces(panel), layout, CONFIGURATION).catch(fail);
  }

  function show(panel) {
    if (!panel.drawn) draw(panel).catch(fail);
    else if (panel.shown !== now()) follow(panel);
  }

  function fail(error) {
    find("failure").textContent = `A figure could not be drawn: ${error.message}`;
    find("failure").hidden = false;
  }

  function reset(panel) {
    if (!panel.ready || panel.absent) return;
    if (panel.space) Plotly.relayout(panel.place, { "scene.camera": look(panel).scene.camera });
    else if (panel.layout.xaxis.range) {
      Plotly.relayout(panel.place, { "xaxis.range": [...panel.layout.xaxis.range], "yaxis.range": [...panel.layout.yaxis.range] });
    } else Plotly.relayout(panel.place, { "xaxis.autorange": true, "yaxis.autorange": true });
  }

  // The camera turns around the centre, with the keyboard as with the mouse.
  function turn(panel, event) {
    if (!panel.ready || panel.absent) return;
    const eye = panel.place._fullLayout.scene.camera.eye;
    const across = Math.hypot(eye.x, eye.y);
    const radius = Math.hypot(across, eye.z);
    let azimuth = Math.atan2(eye.y, eye.x);
    let elevation = Math.atan2(eye.z, across);
    let factor = 1;
    if (event.key === "ArrowLeft") azimuth -= TURN;
    else if (event.key === "ArrowRight") azimuth += TURN;
    else if (event.key === "ArrowUp") elevation = Math.min(elevation + TURN, 1.5);
    else if (event.key === "ArrowDown") elevation = Math.max(elevation - TURN, -0.2);
    else if (event.key === "+" || event.key === "=") factor = 1 / 1.1;
    else if (event.key === "-") factor = 1.1;
    else return;
    event.preventDefault();
    const flat = radius * factor * Math.cos(elevation);
    Plotly.relayout(panel.place, {
      "scene.camera.eye": { x: flat * Math.cos(azimuth), y: flat * Math.sin(azimuth), z: radius * factor * Math.sin(elevation) },
    });
  }

  function save(panel) {
    if (!panel.ready || panel.absent) return;
    const name = panel.figure.querySelector("h3").textContent.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "");
    const { clientWidth: width, clientHeight: height } = panel.place;
    const kind = panel.space ? { format: "png", scale: 3 } : { format: "svg" };
    const legend = { showlegend: true, legend: { orientation: "h", y: 1.02, yanchor: "bottom" }, width, height: height + 80 };
    const layout = { ...panel.place.layout, ...legend, paper_bgcolor: color("@card") };
    if (panel.space) layout.scene = { ...layout.scene, camera: panel.place._fullLayout.scene.camera };
    Plotly.downloadImage({ data: panel.place.data, layout }, { filename: name || "figure", ...legend, ...kind }).catch(fail);
  }

  function choose(panel, index) {
    Object.assign(panel.data[0], panel.choices[index]);
    redraw(panel);
  }

  // Buttons that say what is what, and show or hide it.
  function makeLegend(panel) {
    const place = panel.figure.querySelector(".legend");
    for (const entry of panel.legend) {
      const button = document.createElement("button");
      const swatch = document.createElement("i");
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      swatch.className = `${entry.kind} ${entry.dash}`;
      const property = entry.color.startsWith("@") ? `var(--${entry.color.slice(1)})` : entry.color;
      swatch.style.setProperty("--own", property);
      button.append(swatch, entry.name);
      if (entry.full !== entry.name) button.title = entry.full;
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(on));
        for (const index of entry.traces) panel.data[index].visible = on;
        redraw(panel);
      });
      place.append(button);
    }
    place.hidden = panel.legend.length === 0;
  }

  for (const panel of panels) {
    makeLegend(panel);
    panel.figure.querySelector(".reset").addEventListener("click", () => reset(panel));
    panel.figure.querySelector(".save").addEventListener("click", () => save(panel));
    panel.figure.querySelector(".choice")?.addEventListener("change", (event) => choose(panel, Number(event.target.value)));
    if (panel.space) panel.place.addEventListener("keydown", (event) => turn(panel, event));
  }

  // Figures are drawn when they come near the screen, and follow the slider while they are there.
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const panel = panels.find((one) => one.figure === entry.target);
      panel.visible = entry.isIntersecting;
      if (panel.visible) show(panel);
    }
  }, { rootMargin: "300px" });
  panels.forEach((panel) => observer.observe(panel.figure));

  // A figure has the size of its place; a narrow one has another look.
  const sizes = new ResizeObserver((entries) => {
    for (const entry of entries) fit(panels.find((panel) => panel.place === entry.target));
  });
  panels.forEach((panel) => sizes.observe(panel.place));

  // ---- time ----------------------------------------------------------------------------------------------------

  let waiting = 0;
  let timer = 0;

  function say() {
    if (!slider) return;
    const step = now();
    find("step").textContent = `step ${step.toLocaleString("en").replaceAll(",", "\u202f")}`;
    slider.setAttribute("aria-valuetext", `step ${step}`);
  }

  function timeChanged() {
    say();
    if (waiting) return;
    waiting = requestAnimationFrame(() => {
      waiting = 0;
      panels.filter((panel) => panel.visible).forEach(show);
    });
  }

  function play(on) {
    clearInterval(timer);
    timer = 0;
    const button = find("play");
    button.setAttribute("aria-pressed", String(on));
    button.setAttribute("aria-label", on ? "Pause" : "Play");
    button.textContent = on ? "❚❚" : "▶";
    if (!on) return;
    if (Number(slider.value) === moments.length - 1) slider.value = "0";
    const calm = prefers("prefers-reduced-motion: reduce").matches;
    const pause = calm ? CALM_PAUSE : Math.max(FIRST_WAY / moments.length, LEAST_PAUSE);
    const began = performance.now();
    const first = Number(slider.value);
    timer = setInterval(() => {
      // By the clock: a slow computer leaves moments out instead of taking longer.
      const next = Math.min(first + Math.ceil((performance.now() - began) / pause), moments.length - 1);
      slider.value = String(next);
      timeChanged();
      if (next >= moments.length - 1) play(false);
    }, pause);
    timeChanged();
  }

  if (slider) {
    slider.addEventListener("input", timeChanged);
    find("play").addEventListener("click", () => play(!timer));
    document.addEventListener("keydown", (event) => {
      const native = event.target.closest?.("button, select, summary, a");
      if (event.key !== " " || native || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      play(!timer);
    });
    say();
  }

  // ---- theme and paper -----------------------------------------------------------------------------------------

  let chosen = "";

  function setTheme(name) {
    document.documentElement.dataset.theme = name;
    const button = find("theme");
    button.setAttribute("aria-pressed", String(name === "dark"));
    button.textContent = name === "dark" ? "Light theme" : "Dark theme";
    panels.forEach(redraw);
  }

  const themeNow = () => chosen || (prefers("prefers-color-scheme: dark").matches ? "dark" : "light");
  find("theme").addEventListener("click", () => {
    chosen = themeNow() === "dark" ? "light" : "dark";
    setTheme(chosen);
  });
  prefers("prefers-color-scheme: dark").addEventListener("change", () => setTheme(themeNow()));
  // The page takes the width of the paper before the printer sees it: figures are not drawn again in between.
  window.addEventListener("beforeprint", () => {
    document.documentElement.classList.add("paper");
    setTheme("light");
    panels.forEach(show);
    panels.forEach(fit);
  });
  window.addEventListener("afterprint", () => {
    document.documentElement.classList.remove("paper");
    setTheme(themeNow());
  });
  setTheme(themeNow());
})();
