// A menu over a figure. Pictures are drawn anew here, as they are on the page.
export function render({model, el, view}) {
  const menu = document.createElement("details")
  menu.className = "take"
  menu.innerHTML = `<summary aria-label="take this figure away" title="take this figure away">⋯</summary>
    <div><button>PNG</button><button>SVG</button><button>CSV</button><button>Python</button></div>`
  el.append(menu)
  const [png, svg, csv, python] = menu.querySelectorAll("button")

  const figure = () => [...view.parent.child_views].find(other => other !== view)
  const name = () => {
    const all = (one) => [one, ...[...(one.child_views ?? [])].flatMap(all)]
    const titles = all(figure()).map(one => one.model.title?.text).filter(Boolean)
    const axes = all(figure()).flatMap(one => one.model.left ?? []).map(axis => axis.axis_label)
    const told = [...titles, ...axes.filter(Boolean), "figure"][0]
    return told.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "") || "figure"
  }
  const save = (blob, ending) => {
    const link = document.createElement("a")
    link.href = URL.createObjectURL(blob)
    link.download = `${name()}.${ending}`
    link.click()
    setTimeout(() => URL.revokeObjectURL(link.href), 10000)
    menu.open = false
  }

  png.addEventListener("click", () => {
    const drawn = figure().export("png", true).canvas
    const whole = document.createElement("canvas")
    whole.width = drawn.width
    whole.height = drawn.height
    const pen = whole.getContext("2d")
    pen.fillStyle = getComputedStyle(document.body).backgroundColor
    pen.fillRect(0, 0, whole.width, whole.height)
    pen.drawImage(drawn, 0, 0)
    whole.toBlob(blob => save(blob, "png"))
  })
  svg.addEventListener("click", async () => save(await figure().export("svg").to_blob(), "svg"))
  csv.addEventListener("click", () => model.send_msg({}))
  model.on("msg:custom", ({csv}) => save(new Blob([csv], {type: "text/csv"}), "csv"))
  python.addEventListener("click", () => {
    save(new Blob([model.python], {type: "text/x-python"}), "py")
  })
  const offer = () => { python.hidden = !model.python }
  model.on("python", offer)
  offer()
  const close = (event) => { if (!event.composedPath().includes(menu)) menu.open = false }
  document.addEventListener("pointerdown", close)
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape") menu.open = false
  })
  model.on("remove", () => document.removeEventListener("pointerdown", close))
}
