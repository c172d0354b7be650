// Cards of runs, each replaced only when it changes, so that what has the focus keeps it.
export function render({model, el}) {
  const bar = document.createElement("div")
  bar.className = "chosen"
  bar.setAttribute("aria-live", "polite")
  const grid = document.createElement("div")
  grid.className = "runs"
  el.style.width = "100%"
  el.append(bar, grid)
  const chosen = new Set()
  const shown = new Map()

  const tell = () => {
    bar.replaceChildren()
    bar.hidden = !chosen.size
    if (!chosen.size) return
    const link = document.createElement("a")
    link.href = model.compare + encodeURIComponent(JSON.stringify([...chosen]))
    link.textContent = "compare"
    const clear = document.createElement("button")
    clear.className = "link"
    clear.textContent = "choose none"
    clear.addEventListener("click", () => {
      chosen.clear()
      for (const box of grid.querySelectorAll("input[type=checkbox]")) box.checked = false
      tell()
    })
    bar.append(`${chosen.size} chosen: `, link, " ", clear)
  }

  // what people say of a run is changed in a dialog, which stays while cards change
  const dialog = document.createElement("dialog")
  dialog.innerHTML = `<form><h3></h3>
    <label>tags, with spaces between <input name="tags" autocomplete="off"></label>
    <label>note <textarea name="note" rows="5" maxlength="4000"></textarea></label>
    <p role="alert"></p><button class="link">save</button>
    <button class="link" type="button">cancel</button></form>`
  el.append(dialog)
  const form = dialog.querySelector("form")
  const answer = dialog.querySelector("p")
  dialog.setAttribute("aria-label", "tags and note")
  form.querySelector("button[type=button]").addEventListener("click", () => dialog.close())
  form.addEventListener("submit", (event) => {
    event.preventDefault()
    answer.textContent = "saving ..."
    const [tags, note] = [form.elements.tags.value, form.elements.note.value]
    model.send_msg({run: dialog.run, tags, note})
  })
  model.on("msg:custom", ({told}) => {
    answer.textContent = told
    if (!told) dialog.close()
  })
  const edit = (name, button) => {
    dialog.run = name
    dialog.querySelector("h3").textContent = name
    form.elements.tags.value = button.dataset.tags
    form.elements.note.value = button.dataset.note
    answer.textContent = ""
    dialog.showModal()
  }

  const draw = () => {
    const cards = JSON.parse(model.cards)
    const names = new Set(cards.map(([name]) => name))
    for (const [name, card] of shown) {
      if (names.has(name)) continue
      card.remove()
      shown.delete(name)
    }
    cards.forEach(([name, markup], place) => {
      let card = shown.get(name)
      if (!card) {
        card = document.createElement("article")
        shown.set(name, card)
      }
      if (card.markup !== markup) {
        const focused = card.contains(card.getRootNode().activeElement)
          && card.getRootNode().activeElement.tagName
        card.markup = markup
        card.innerHTML = markup  // escaped where it was made
        const box = card.querySelector("input[type=checkbox]")
        box.checked = chosen.has(name)
        box.addEventListener("change", () => {
          chosen[box.checked ? "add" : "delete"](name)
          tell()
        })
        const button = card.querySelector(".edit")
        button?.addEventListener("click", () => edit(name, button))
        if (focused) card.querySelector(focused)?.focus()
      }
      if (grid.children[place] !== card) grid.insertBefore(card, grid.children[place] ?? null)
    })
  }

  model.on("cards", draw)
  model.on("compare", tell)
  draw()
  tell()
}
