// A slider of the browser's own: keys and mouse move it, and a screen reader says its label.
function render({ model, el }) {
  const texts = model.get("texts");
  const label = document.createElement("label");
  const input = document.createElement("input");
  const shown = document.createElement("span");
  Object.assign(input, { type: "range", min: 0, max: texts.length - 1, step: 1 });
  const follow = () => {
    input.value = model.get("position");
    shown.textContent = texts[input.value];
    input.setAttribute("aria-valuetext", shown.textContent);
  };
  label.style = "display: inline-flex; gap: 0.6em; align-items: center; padding: 0.2em 0.6em";
  input.style = "width: 20em; max-width: 50vw";
  input.addEventListener("input", () => {
    model.set("position", Number(input.value));
    model.save_changes();
  });
  model.on("change:position", follow);
  shown.setAttribute("aria-hidden", "true"); // the input says it
  input.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take the arrow keys
  label.append(model.get("label"), input, shown);
  el.append(label);
  follow();
}
export default { render };
