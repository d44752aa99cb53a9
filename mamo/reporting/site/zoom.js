// ---------------------------------------------------------------- figures, enlarged: buttons, wheel, two fingers; dragged by hand or finger

function enlarge(name) {
  const figure = document.getElementById(name), shown = figure?.querySelector(".zoom > img, .zoom > svg");
  if (!shown) return;
  const picture = shown.cloneNode(true), natural = Number(shown.getAttribute("width")), ratio = Number(shown.getAttribute("height")) / natural;
  const pan = make("div", { class: "pan", tabindex: 0, role: "region", "aria-label": "The figure; scroll or drag it" }, picture);
  const said = make("span", {});
  let width = 0;
  // Zoom around a point of the window, which stays in place.
  function zoom(to, clientX, clientY) {
    const box = pan.getBoundingClientRect(), fit = pan.clientWidth || 1;
    const across = (clientX ?? box.left + fit / 2) - box.left, down = (clientY ?? box.top + pan.clientHeight / 2) - box.top;
    const share = width ? [(pan.scrollLeft + across) / width, (pan.scrollTop + down) / (width * ratio)] : [0, 0];
    width = Math.min(Math.max(to, Math.min(fit, natural) * 0.5), natural * 6);
    for (const [side, size] of [["width", width], ["height", width * ratio]]) {
      picture.setAttribute(side, size);
      picture.style[side] = `${size}px`;
    }
    pan.scrollTo(share[0] * width - across, share[1] * width * ratio - down);
    said.textContent = `${Math.round((100 * width) / natural)} %`;
  }
  const button = (text, label, act) => make("button", { type: "button", "aria-label": label, onclick: act }, text);
  const tools = make("div", { class: "tools" },
    button("−", "Smaller", () => zoom(width / 1.4)), button("+", "Larger", () => zoom(width * 1.4)),
    button("Fit", "Fit the window's width", () => zoom(pan.clientWidth)), said);
  openDialog(`#zoom=${name}`, figure.querySelector("figcaption strong").textContent, tools, pan);
  // At least its drawn size: on a phone, a part of it fills the screen.
  zoom(Math.max(pan.clientWidth, natural));
  pan.scrollTo(0, 0);

  pan.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoom(width * Math.exp(-event.deltaY / 300), event.clientX, event.clientY);
  }, { passive: false });
  pan.addEventListener("keydown", (event) => {
    if (event.key === "+" || event.key === "=") zoom(width * 1.4);
    if (event.key === "-") zoom(width / 1.4);
  });
  pan.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse") return; // a finger scrolls by itself
    pan.setPointerCapture(event.pointerId);
    pan.classList.add("held");
  });
  pan.addEventListener("pointermove", (event) => { if (pan.classList.contains("held")) pan.scrollBy(-event.movementX, -event.movementY); });
  for (const end of ["pointerup", "pointercancel"]) pan.addEventListener(end, () => pan.classList.remove("held"));
  let apart = 0;
  const gap = ([a, b]) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
  pan.addEventListener("touchstart", (event) => { if (event.touches.length === 2) apart = gap(event.touches); }, { passive: true });
  pan.addEventListener("touchmove", (event) => {
    if (event.touches.length !== 2) return;
    event.preventDefault();
    const now = gap(event.touches), [a, b] = event.touches;
    zoom((width * now) / apart, (a.clientX + b.clientX) / 2, (a.clientY + b.clientY) / 2);
    apart = now;
  }, { passive: false });
}

document.addEventListener("click", (event) => {
  const zoom = event.target.closest?.("a.zoom");
  if (!zoom) return;
  event.preventDefault();
  enlarge(zoom.closest("figure").id);
});
document.addEventListener("keydown", (event) => {
  if (event.key === " " && event.target.classList?.contains("zoom")) {
    event.preventDefault();
    event.target.click();
  }
});
openAddressed();
