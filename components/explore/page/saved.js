// Selections that a person saved: what is found now under a name, with tags; reopened, compared, deleted.
import { ask, count, go, make, query } from "./address.js";

const find = (id) => document.getElementById(id);

export class Saved {
  /** `changed` is called when there is one more, or one less. */
  constructor(changed) {
    this.changed = changed;
    find("save").addEventListener("submit", (event) => {
      event.preventDefault();
      this.save();
    });
  }

  describe(about) {
    const saved = about.selections.filter((one) => one.saved);
    find("saving").hidden = !about.saves;
    find("saving").querySelector("summary").textContent = saved.length ? `Saved selections (${saved.length})` : "Save as a selection";
    find("saved").replaceChildren(...saved.map((one) => this.row(one)));
  }

  row(one) {
    const { name, tags, asked } = one.saved;
    const act = (words, work) => {
      const button = make("button", { type: "button", className: "chip", textContent: words });
      button.setAttribute("aria-label", `${words} ${name}`);
      button.addEventListener("click", work);
      return button;
    };
    const again = { filter: "", sort: "", desc: "", show: "", b: "", ...asked };
    return make("li", {}, make("b", { textContent: name }), ...tags.map((tag) => make("span", { className: "tag", textContent: tag })), make("span", { className: "hint", textContent: `${count(one.counts.kept)} pairs` }), act("Reopen", () => go(again)), act("Compare", () => go({ b: one.name, show: "" })), act("Delete", () => this.delete(name)));
  }

  async save() {
    const tags = find("save-tags").value.split(",").map((tag) => tag.trim()).filter(Boolean);
    await this.tell(`/api/selections?${query()}`, { name: find("save-name").value, tags }, (answer) => `Saved: ${answer.label}.`);
  }

  async delete(name) {
    await this.tell("/api/selections/delete", { name }, () => `Deleted: ${name}.`);
  }

  async tell(path, body, words) {
    try {
      const answer = await ask(path, body);
      find("save-told").textContent = words(answer);
      await this.changed(answer.places || []);
    } catch (error) {
      find("save-told").textContent = error.message;
    }
  }
}
