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
