// What the theme leaves out for keyboards and screen readers.
window.addEventListener("load", () => {
  const label = (selector, name, value) =>
    document.querySelectorAll(selector).forEach((found) => found.setAttribute(name, value));
  label(".sidebar-drawer", "aria-label", "The book");
  label(".toc-drawer", "aria-label", "This page");
  label("p.caption[role=heading]", "aria-level", "2");
  // What scrolls sideways can be reached with the keyboard.
  for (const found of document.querySelectorAll("pre, .table-wrapper, .math, .run-box")) {
    if (found.scrollWidth > found.clientWidth) found.tabIndex = 0;
  }
  // A table whose head is empty has no header there.
  for (const th of document.querySelectorAll("th")) {
    if (!th.textContent.trim()) th.outerHTML = "<td></td>";
  }
});
