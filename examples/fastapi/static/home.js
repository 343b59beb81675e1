// Shows how long the session has, and talks over a WebSocket. The question does not count as activity.
const show = (id, until) => {
  const left = Math.max(0, Math.round((new Date(until) - Date.now()) / 1000));
  const [days, hours, minutes] = [Math.floor(left / 86400), Math.floor(left / 3600) % 24, Math.floor(left / 60) % 60];
  document.getElementById(id).textContent =
    days ? `${days} d ${hours} h` : hours ? `${hours} h ${minutes} min` : `${minutes} min ${left % 60} s`;
};
let session;
const ask = async () => {
  const answer = await fetch("/session");
  if (answer.status === 401) location.reload();
  if (answer.ok) session = await answer.json();
};
setInterval(() => { if (session) { show("idle", session.idle_expires_at); show("end", session.expires_at); } }, 1000);
setInterval(ask, 15000);
ask();

const live = document.getElementById("live");
const socket = new WebSocket(`${location.origin.replace("http", "ws")}/live`);
socket.onopen = () => { live.textContent = "connected"; };
socket.onmessage = (message) => { live.textContent = message.data; };
socket.onclose = (event) => {
  live.textContent = event.code === 4401 ? "You were signed out." : "disconnected";
  document.querySelector("#say button").disabled = true;
};
document.getElementById("say").onsubmit = (event) => {
  event.preventDefault();
  socket.send(event.target.text.value);
  event.target.reset();
};
