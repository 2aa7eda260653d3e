// SPDX-License-Identifier: MIT OR Apache-2.0

package main

// thing is what a person has one value of. In its sentences {v} is that value.
type thing struct {
	about, other string // what a model calls it, and what it calls it another time
	value        kind
	fact         string // how it is told
	again        string // told anew, as a change
	verbatim     string // asked in the fact's words
	near         string // asked in other words, but for one
	far          string // asked without any of them
}

// kind is how a value looks.
type kind int

const (
	aName kind = iota // made up
	aCode
	aDate
	aTime
	aPlate
)

// things are what facts are planted about. A test holds the questions to their word.
var things = []thing{
	{"allergy", "hives", aName, "I am allergic to {v}, it gave me hives.", "They tested me again, I am now allergic to {v} instead.",
		"What am I allergic to?", "Is there an allergic reaction that the hospital should write down?", "Which drug must the nurse keep away from me?"},
	{"boiler code", "heating", aCode, "The service code of the boiler is {v}.", "The service code of the boiler was changed, now it is {v}.",
		"What is the service code of the boiler?", "The man for the boiler is here, what does he type in?", "What do I enter when the radiators stay cold?"},
	{"dentist appointment", "teeth", aDate, "My appointment at the dentist is on {v}.", "My appointment at the dentist was moved to {v}.",
		"When is my appointment at the dentist?", "When do I see the dentist?", "On what day does somebody look at my teeth?"},
	{"number plate", "car", aPlate, "My car has the number plate {v}.", "My car got a new number plate, {v}.",
		"What number plate does my car have?", "The car park asks what I drive, what do I type?", "Which letters are on the back of my vehicle?"},
	{"where my sister lives", "sister", aName, "My sister lives in {v}.", "My sister moved, she lives in {v} now.",
		"Where does my sister live?", "To which town do I fly for a weekend with my sister?", "Where would a parcel for my closest sibling go?"},
	{"wifi password", "internet at home", aName, "The wifi password is {v}.", "I changed the wifi password to {v}.",
		"What is the wifi password?", "A guest wants into the wifi, what do I tell her?", "How do visitors get online here?"},
	{"favourite restaurant", "eating out", aName, "My favourite restaurant is {v}.", "My favourite restaurant is {v} since last week.",
		"What is my favourite restaurant?", "Book me a table at the restaurant that pleases me most.", "Where should we go for dinner on Friday?"},
	{"landlord", "flat", aName, "My landlord is called {v}.", "The house was sold, my landlord is called {v} now.",
		"What is my landlord called?", "Who gets my letter about the rent, how do I address the landlord?", "Who owns the rooms that we live in?"},
	{"passport", "travel papers", aDate, "My passport expires on {v}.", "I have a new passport, it expires on {v}.",
		"When does my passport expire?", "How long can I fly with this passport?", "Until when are my travel papers good?"},
	{"vet", "cat", aName, "The vet of my cat is Doctor {v}.", "We changed the vet, for my cat it is Doctor {v} now.",
		"Who is the vet of my cat?", "The cat is limping, whom do I phone?", "Who looks after our pet when it is ill?"},
	{"gym locker", "training", aCode, "My locker at the gym opens with {v}.", "My locker at the gym got a new code and opens with {v}.",
		"What does my locker at the gym open with?", "I am at the gym and forgot the digits, which are they?", "How do I get my sports bag out after the workout?"},
	{"blood pressure pills", "medication", aName, "For my blood pressure I take {v} pills every morning.", "For my blood pressure I take {v} pills now, the old ones made me cough.",
		"Which pills do I take for my blood pressure?", "What pills must I pack for the holiday?", "Which medicine do I need a new prescription of?"},
	{"project name", "work", aName, "The project that I lead at work is called {v}.", "The project that I lead at work was renamed, it is called {v}.",
		"What is the project called that I lead at work?", "Which title do I put on the slides of my project?", "Under what name does my team's big job run?"},
	{"boss", "manager", aName, "My boss is {v}.", "I have a new boss, {v}.",
		"Who is my boss?", "Does the boss have to sign my holiday form, and who is that?", "Whom do I report to at the office?"},
	{"bank of my savings", "money", aName, "My savings are at the {v} bank.", "I moved my savings to the {v} bank.",
		"At which bank are my savings?", "Which bank do I ask about the interest?", "Where do I keep what I put aside?"},
	{"train to work", "commute", aTime, "My train to the office leaves at {v}.", "From now on my train to the office leaves at {v}.",
		"When does my train to the office leave?", "When must I stand on the platform for the train?", "What is the hour my commute begins?"},
	{"coffee syrup", "hot drinks", aName, "I drink my coffee with {v} syrup.", "I drink my coffee with {v} syrup these days.",
		"Which syrup do I drink my coffee with?", "Order me a coffee the way I like it.", "What goes into my cup at breakfast?"},
	{"novel", "reading", aName, "I am reading a novel called {v}.", "I finished that one, the novel I am reading now is called {v}.",
		"What is the novel called that I am reading?", "Which novel lies on my bedside table?", "What was that story I had started?"},
	{"school of my daughter", "children", aName, "My daughter goes to the {v} school.", "My daughter changed to the {v} school.",
		"To which school does my daughter go?", "Where do I pick up my daughter at noon?", "Where is our girl taught?"},
	{"insurance number", "health", aCode, "The number of my health insurance is {v}.", "I changed my health insurance, the number is {v}.",
		"What is the number of my health insurance?", "The clinic wants to bill my insurance, what do I write down?", "What do I tell the reception when they ask who pays for the doctor?"},
	{"bike lock", "cycling", aCode, "The lock of my bike opens with {v}.", "I bought a new lock for my bike, it opens with {v}.",
		"What does the lock of my bike open with?", "I stand before my bike and cannot ride off, what do I dial?", "What is the combination for my two wheels?"},
	{"spare key", "neighbours", aName, "Our neighbour {v} has the spare key.", "We gave the spare key to our neighbour {v}, the other one moved away.",
		"Which neighbour has the spare key?", "I stand outside without my key, at whose door do I ring?", "Who can let me in when I am locked out?"},
	{"piano teacher", "music", aName, "My piano teacher is {v}.", "I have another piano teacher since Easter, {v}.",
		"Who is my piano teacher?", "With whom do I learn the piano?", "Who gives me lessons on Wednesdays?"},
	{"printer cartridges", "office supplies", aName, "The printer takes cartridges of the type {v}.", "The new printer takes cartridges of the type {v}.",
		"What type of cartridges does the printer take?", "What do I buy for the printer when it is empty?", "Which ink should I order?"},
	{"dog", "pets", aName, "Our dog is called {v}.", "After the old one died we have a new dog, he is called {v}.",
		"What is our dog called?", "What do I shout when the dog runs away?", "Which name is on the collar of our puppy?"},
	{"my street", "home address", aName, "I live in {v} street.", "I moved, I live in {v} street now.",
		"In which street do I live?", "What street do I tell the taxi?", "What is my address?"},
	{"meeting room", "accountants", aName, "The meeting with the accountants is in room {v}.", "The meeting with the accountants was put into room {v}.",
		"In which room is the meeting with the accountants?", "Where do the accountants wait for me?", "Where am I expected by the tax people?"},
	{"backup server", "computers", aName, "The server for our backups is called {v}.", "We bought another server for our backups, it is called {v}.",
		"What is the server for our backups called?", "Which machine do the backups go to?", "Where are copies of our files stored?"},
	{"birthday of my mother", "family", aDate, "My mother has her birthday on {v}.", "I had it wrong, my mother has her birthday on {v}.",
		"When does my mother have her birthday?", "When do I buy flowers for my mother?", "On what day do I congratulate mum?"},
	{"wine", "drinks", aName, "The wine that I liked so much in Portugal was {v}.", "I tasted again, the wine that I liked so much was {v}.",
		"Which wine did I like so much in Portugal?", "What wine shall they bring to the party?", "What was that bottle I enjoyed on holiday?"},
	{"kitchen colour", "paint", aName, "The colour in the kitchen is {v}.", "We painted again, the colour in the kitchen is {v}.",
		"What is the colour in the kitchen?", "What do I buy to mend a scratch in the kitchen?", "Which paint do I need where we cook?"},
	{"phone contract", "mobile", aDate, "My phone contract ends on {v}.", "I prolonged my phone contract, it ends on {v}.",
		"When does my phone contract end?", "How long am I bound to this phone company?", "From what day could I switch to another mobile provider?"},
	{"garage", "repairs", aName, "The garage that I trust is {v}.", "The garage that I trust is {v} now, the other one closed.",
		"Which garage do I trust?", "Which garage takes care of the brakes?", "Who repairs my car?"},
	{"parking space", "cellar", aCode, "My parking space under the house has the number {v}.", "My parking space under the house has another number, {v}.",
		"What number does my parking space under the house have?", "A friend may use my parking lot, what sign does he look for?", "Where do I put the car at night?"},
}

// family is a fact that is known of many people, who are easily mistaken for each other.
type family struct {
	about, fact, asked string // {who}
	value              kind
}

var families = []family{
	{"locker of {who}", "The locker of {who} has the number {v}.", "What number does the locker of {who} have?", aCode},
	{"where {who} lives", "{who} lives in {v} since the summer.", "Where does {who} live?", aName},
	{"birthday of {who}", "{who} was born on {v}.", "When was {who} born?", aDate},
	{"employer of {who}", "{who} works for a firm called {v}.", "Which firm does {who} work for?", aName},
	{"tea of {who}", "{who} only drinks {v} tea.", "Which tea does {who} drink?", aName},
	{"train of {who}", "{who} comes home with the train at {v}.", "With which train does {who} come home?", aTime},
}

// opinions are worth remembering to a model, and nobody asks for them. Half speak of what is asked about. {v} is made up.
var opinions = []string{
	"I did not like the film {v} at all.", "The {noun} of my uncle in {v} broke down.", "I would love to see the lake of {v} one day.", "I read in the {v} times that a {noun} is overrated.",
	"I once spent a rainy week in {v}.", "My colleague {v} dreams of a new {noun}.", "The song {v} always cheers me up.", "In {v} nobody has a {noun}, I was told.",
	"I lost a bet about {v} last year.", "I would never lend my {noun} to {v}.", "The shop {v} was closed again today.", "Aunt {v} complains about her {noun} every time.",
}
