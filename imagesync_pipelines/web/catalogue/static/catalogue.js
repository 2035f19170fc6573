/* The catalogue works without this file. It swaps the large picture in place, adds the keyboard, and keeps addresses
   short. HTMX (vendored) does the rest. */
(function () {
  "use strict";

  document.documentElement.classList.add("scripted");

  // An address says only what is set.
  document.addEventListener("htmx:configRequest", function (event) {
    var values = event.detail.parameters;
    Object.keys(values).forEach(function (name) {
      if (values[name] === "") delete values[name];
    });
  });

  // A part of a page that cannot be had is asked for as a page, which says why.
  document.addEventListener("htmx:responseError", function (event) {
    var link = event.detail.elt.closest("a[href]");
    if (link) window.location.assign(link.href);
  });

  // A picture that is there, or cannot be had, is on its way no longer. These events do not bubble.
  function there(image) { image.classList.add("there"); }
  ["load", "error"].forEach(function (name) {
    document.addEventListener(name, function (event) {
      if (event.target instanceof HTMLImageElement) there(event.target);
    }, true);
  });
  Array.prototype.filter.call(document.images, function (image) { return image.complete; }).forEach(there);

  // The page of one picture: the arrows lead to its neighbours, Escape back to the product.
  var whole = document.getElementById("whole");
  if (whole) {
    document.addEventListener("keydown", function (event) {
      if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, .canvas.larger")) return;
      var wanted = { ArrowLeft: ".whole [rel=prev]", ArrowRight: ".whole [rel=next]", Escape: "#leave" }[event.key];
      var link = wanted && document.querySelector(wanted);
      if (link) window.location.replace(link.href);
    });
  }

  var gallery = document.getElementById("gallery");
  var thumbs = gallery ? Array.prototype.slice.call(gallery.querySelectorAll("[data-image]")) : [];
  if (!thumbs.length) return;

  var stage = document.getElementById("stage");
  var large = document.getElementById("large");

  function current() {
    return thumbs.findIndex(function (thumb) { return thumb.getAttribute("aria-current") === "true"; });
  }

  function show(place) {
    var chosen = thumbs[(place + thumbs.length) % thumbs.length];
    thumbs.forEach(function (thumb) { thumb.removeAttribute("aria-current"); });
    chosen.setAttribute("aria-current", "true");
    large.classList.remove("there");
    large.src = chosen.dataset.large;
    large.alt = chosen.dataset.alt;
    stage.href = chosen.dataset.page;
    stage.setAttribute("aria-label", chosen.dataset.label);
    document.getElementById("caption").textContent = chosen.dataset.caption;
    document.querySelectorAll("[data-about]").forEach(function (panel) {
      panel.hidden = panel.dataset.about !== chosen.dataset.image;
    });
    chosen.scrollIntoView({ block: "nearest", inline: "nearest" });
    window.history.replaceState(null, "", "?image=" + chosen.dataset.image);
    return chosen;
  }

  thumbs.forEach(function (thumb, place) {
    thumb.addEventListener("click", function (event) {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      show(place);
    });
  });

  document.addEventListener("keydown", function (event) {
    var step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.target.closest("input, select, textarea, .scroll")) return;
    event.preventDefault();
    var chosen = show(current() + step);
    if (thumbs.indexOf(document.activeElement) !== -1) chosen.focus();
  });
})();
