/* The catalogue works without this file. It swaps the large picture in place, adds the keyboard and the zoom, and
   keeps addresses short. HTMX (vendored) does the rest. */
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

  var gallery = document.getElementById("gallery");
  var thumbs = gallery ? Array.prototype.slice.call(gallery.querySelectorAll("[data-image]")) : [];
  if (!thumbs.length) return;

  var stage = document.getElementById("stage");
  var large = document.getElementById("large");
  var zoom = document.getElementById("zoom");
  var zoomed = document.getElementById("zoomed");

  function current() {
    return thumbs.findIndex(function (thumb) { return thumb.getAttribute("aria-current") === "true"; });
  }

  function show(place) {
    var chosen = thumbs[(place + thumbs.length) % thumbs.length];
    thumbs.forEach(function (thumb) { thumb.removeAttribute("aria-current"); });
    chosen.setAttribute("aria-current", "true");
    [large, zoomed].forEach(function (image) {
      image.src = chosen.dataset.large;
      image.alt = chosen.dataset.alt;
    });
    stage.href = chosen.dataset.large;
    stage.setAttribute("aria-label", "Enlarge: " + chosen.dataset.alt);
    document.getElementById("caption").textContent = "Picture " + (thumbs.indexOf(chosen) + 1) + " of " + thumbs.length;
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
    if (event.target.closest("input, select, textarea, .pan, .scroll")) return;
    event.preventDefault();
    var chosen = show(current() + step);
    if (thumbs.indexOf(document.activeElement) !== -1) chosen.focus();
  });

  stage.addEventListener("click", function (event) {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    zoom.showModal();
  });
  zoom.addEventListener("click", function (event) {
    if (event.target === zoom) zoom.close();
  });
  var larger = document.getElementById("zoom-larger");
  function enlarge() {
    larger.setAttribute("aria-pressed", String(zoomed.classList.toggle("larger")));
    var pan = document.getElementById("pan");
    pan.scrollTo((pan.scrollWidth - pan.clientWidth) / 2, (pan.scrollHeight - pan.clientHeight) / 2);
  }
  zoomed.addEventListener("click", enlarge);
  larger.addEventListener("click", enlarge);
  zoom.addEventListener("close", function () { stage.focus(); });
})();
