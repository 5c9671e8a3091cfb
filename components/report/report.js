"use strict";
// The only script of the page: enlarge a picture, go on with the arrow keys, mark the section in view.
(() => {
  const viewer = document.getElementById("viewer");
  const buttons = [...document.querySelectorAll("[data-sample]")];
  let at = 0;

  const show = (index) => {
    at = (index + buttons.length) % buttons.length;
    const card = buttons[at].closest(".card");
    viewer.querySelector(".stage").replaceChildren(buttons[at].querySelector(".mount").cloneNode(true));
    viewer.querySelector(".words").replaceChildren(card.querySelector(".about").cloneNode(true));
    viewer.querySelector(".steps span").textContent = `${at + 1} of ${buttons.length}`;
    if (!viewer.open) viewer.showModal();
  };

  buttons.forEach((button, index) => button.addEventListener("click", () => show(index)));
  viewer.querySelectorAll("[data-step]").forEach((button) =>
    button.addEventListener("click", () => show(at + Number(button.dataset.step))));
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") show(at - 1);
    if (event.key === "ArrowRight") show(at + 1);
  });
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
  viewer.addEventListener("close", () => buttons[at] && buttons[at].focus());

  const links = new Map([...document.querySelectorAll(".toc a")].map((link) => [link.hash.slice(1), link]));
  const mark = (id) => links.forEach((link, name) => {
    if (name === id) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
  });
  const seen = new IntersectionObserver((entries) => {
    entries.filter((entry) => entry.isIntersecting).forEach((entry) => mark(entry.target.id));
  }, { rootMargin: "-20% 0px -70% 0px" });
  document.querySelectorAll("main > section").forEach((section) => seen.observe(section));
})();
