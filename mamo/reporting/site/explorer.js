// ---------------------------------------------------------------- heat

// The inferno colour map at 17 points; its lightness rises throughout.
const STOPS = ["000004", "0b0724", "210c4a", "3d0965", "57106e", "71196e", "8a226a", "a32c61", "bc3754", "d24644", "e45a31", "f1731d",
  "f98e09", "fbaa0f", "f9c932", "f2ea69", "fcffa4"].map((hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)));
function colour(value) {
  const place = Math.min(Math.max(value, 0), 1) * (STOPS.length - 1);
  const low = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[low].map((from, i) => from + (STOPS[low + 1][i] - from) * (place - low));
}

// Bicubic resampling of a grid to a line of pixels: for every pixel four places and their weights.
function cubic(size, grid) {
  const a = -0.75;
  const weight = (x) => {
    const d = Math.abs(x);
    if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
  };
  return Array.from({ length: size }, (_, pixel) => {
    const centre = ((pixel + 0.5) * grid) / size - 0.5;
    const first = Math.floor(centre) - 1;
    return [0, 1, 2, 3].map((i) => [Math.min(Math.max(first + i, 0), grid - 1), weight(centre - first - i)]);
  });
}

// A map as one value per pixel: 0 stays 0, the hottest patch of all the image's maps is 1, and colours follow the square root.
function scaled(map, grid, width, height, top) {
  const fine = new Float32Array(width * height);
  if (!(top > 0)) return fine;
  const across = cubic(width, grid), down = cubic(height, grid);
  const rows = new Float32Array(grid * width);
  for (let r = 0; r < grid; r++) for (let x = 0; x < width; x++) {
    rows[r * width + x] = across[x].reduce((sum, [c, w]) => sum + w * Math.sqrt(Math.min(1, Math.max(0, map[r * grid + c] / top))), 0);
  }
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
    fine[y * width + x] = down[y].reduce((sum, [r, w]) => sum + w * rows[r * width + x], 0);
  }
  return fine;
}

// ---------------------------------------------------------------- explorer

function explorer(root, { examples, models, grid }) {
  const thumbs = root.querySelector(".thumbs"), sentence = root.querySelector(".sentence");
  const views = root.querySelector(".views"), said = root.querySelector(".said");
  const strength = root.querySelector("#strength"), boxes = root.querySelector("#boxes");
  const state = { example: 0, word: null, kept: null, image: null };
  const plain = make("img", { alt: "The image without heat" });
  views.append(make("figure", {}, plain, make("figcaption", {}, make("strong", {}, "Image"))));
  const figures = models.map((model) => {
    const canvas = make("canvas", { role: "img" }), fit = make("span", { class: "fit" });
    const figure = make("figure", {}, canvas, make("figcaption", {}, make("strong", {}, model.label), fit));
    views.append(figure);
    return { model, canvas, fit };
  });

  examples.forEach((example, i) => {
    const button = make("button", { type: "button", "aria-label": `Image ${i + 1}: ${example.text}`, tabindex: i ? -1 : 0, onclick: () => open(i) },
      make("img", { src: example.picture, alt: "" }));
    thumbs.append(button);
  });

  function open(i) {
    Object.assign(state, { example: i, word: null, kept: null, image: null });
    [...thumbs.children].forEach((button, j) => { button.setAttribute("aria-pressed", j === i); button.tabIndex = j === i ? 0 : -1; });
    const example = examples[i];
    sentence.replaceChildren(...example.words.map((word, place) => {
      if (!/[\p{L}\p{N}]/u.test(word)) return make("span", {}, word);
      const named = example.named.some((name) => name.words.includes(place));
      return make("button", {
        type: "button", class: named ? "named" : "", "data-word": place, tabindex: -1, "aria-pressed": "false",
        onpointerenter: (event) => { if (event.pointerType !== "touch") show(place); },
        onpointerleave: (event) => { if (event.pointerType !== "touch") show(state.kept); },
        onfocus: () => { turn(place); show(place); },
        onblur: () => show(state.kept),
        onclick: () => keep(place),
      }, word);
    }));
    const buttons = words();
    if (buttons.length) buttons[0].tabIndex = 0;
    const image = new Image();
    image.onload = () => { state.image = image; paint(); };
    image.src = plain.src = example.picture;
    const first = example.named.find((name) => name.what === "object") ?? example.named[0];
    keep(first ? first.words[0] : Number(buttons[0]?.dataset.word ?? 0));
  }

  const words = () => [...sentence.querySelectorAll("button")];
  // One word at a time is in the tab order; arrow keys reach the others.
  function turn(place) { for (const button of words()) button.tabIndex = Number(button.dataset.word) === place ? 0 : -1; }
  function keep(place) { state.kept = place; turn(place); show(place); }
  function show(place) {
    state.word = place;
    for (const button of words()) {
      const word = Number(button.dataset.word);
      button.classList.toggle("shown", word === place);
      button.classList.toggle("kept", word === state.kept);
      button.setAttribute("aria-pressed", word === state.kept);
    }
    paint();
    tell();
  }

  sentence.addEventListener("keydown", (event) => {
    const buttons = words(), at = buttons.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    buttons[(to + buttons.length) % buttons.length].focus();
  });
  thumbs.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const to = thumbs.children[(state.example + step + examples.length) % examples.length];
    to.click();
    to.focus();
  });
  strength.addEventListener("input", paint);
  boxes.addEventListener("change", paint);

  const namedAt = (place) => examples[state.example].named.findIndex((name) => name.words.includes(place));

  function paint() {
    const example = examples[state.example], image = state.image;
    if (!image || state.word === null) return;
    const side = Math.max(1, Math.round(448 / Math.min(example.width, example.height)));
    const width = example.width * side, height = example.height * side;
    const top = Math.max(...Object.values(example.models).flatMap((own) => own.maps.flatMap((map, i) => (/[\p{L}\p{N}]/u.test(example.words[i]) ? map : []))));
    root.querySelector(".scalebar .hottest").textContent = `hot (${axis(top)})`;
    for (const { model, canvas } of figures) {
      const own = example.models[model.key];
      canvas.width = width;
      canvas.height = height;
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.imageSmoothingEnabled = true;
      context.drawImage(image, 0, 0, width, height);
      if (own) {
        const heat = scaled(own.maps[state.word], grid, width, height, top), share = strength.value / 100;
        const pixels = context.getImageData(0, 0, width, height), data = pixels.data;
        const table = Array.from({ length: 256 }, (_, i) => colour(i / 255));
        for (let i = 0; i < heat.length; i++) {
          const [r, g, b] = table[Math.round(Math.min(Math.max(heat[i], 0), 1) * 255)];
          const grey = 0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2];
          // The stronger the heat is shown, the less colour the image keeps.
          data[4 * i] = (1 - share) * data[4 * i] + share * (0.45 * grey + 0.55 * r);
          data[4 * i + 1] = (1 - share) * data[4 * i + 1] + share * (0.45 * grey + 0.55 * g);
          data[4 * i + 2] = (1 - share) * data[4 * i + 2] + share * (0.45 * grey + 0.55 * b);
        }
        context.putImageData(pixels, 0, 0);
      }
      const named = namedAt(state.word);
      if (boxes.checked && named >= 0) {
        const [x0, y0, x1, y1] = example.named[named].box;
        for (const [colour, line] of [["#000", 6], ["#00c2f3", 3]]) {
          context.strokeStyle = colour;
          context.lineWidth = line;
          context.strokeRect(x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height);
        }
      }
    }
  }

  function tell() {
    const example = examples[state.example], named = namedAt(state.word), word = example.words[state.word];
    if (word === undefined) return;
    const parts = [];
    for (const { model, canvas, fit } of figures) {
      const own = example.models[model.key];
      let text;
      if (!own) text = `This run ended as ${model.outcome}.`;
      else if (!own.maps[state.word].some((value) => value > 0)) text = "No heat: this word does not raise the score.";
      else if (named >= 0) {
        const found = own.fits[named];
        text = `${Math.round(100 * found.share)} % of the heat in the box; hottest point ${found.hit ? "inside" : "outside"}`;
      } else text = `Match probability of the pair: ${Math.round(100 * own.matched)} %`;
      fit.textContent = text;
      canvas.setAttribute("aria-label", `${model.label}, heat of “${word}”: ${text}`);
      parts.push(`${model.label}: ${text}`);
    }
    said.textContent = `“${word}”. ${parts.join(". ")}.`;
  }

  const bar = root.querySelector(".scalebar canvas"), context = bar.getContext("2d");
  for (let x = 0; x < bar.width; x++) {
    context.fillStyle = `rgb(${colour(x / (bar.width - 1)).map(Math.round).join(" ")})`;
    context.fillRect(x, 0, 1, bar.height);
  }
  open(0);
}
if (DATA.explorer) explorer(document.getElementById("explorer"), DATA.explorer);
